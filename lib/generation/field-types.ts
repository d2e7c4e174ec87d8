import { invalidArgument } from '../errors.js';
import type { GenerationField, GenerationFields } from './generation-fields.js';

type Kind = [expected: string, holds: (value: unknown) => boolean];

const isInteger = Number.isInteger;
const isListOf = (holds: (item: unknown) => boolean) => (value: unknown) =>
  Array.isArray(value) && value.every(holds);

const FLAG: Kind = ['true or false', (value) => typeof value === 'boolean'];
const INTEGER: Kind = ['an integer', isInteger];
const COUNT: Kind = ['an integer >= 0', (value) => isInteger(value) && (value as number) >= 0];
const NUMBER: Kind = ['a finite number', Number.isFinite];
const IDS: Kind = ['a list of token ids', isListOf(isInteger)];
const ID_OR_IDS: Kind = [
  'a token id or a list of them',
  (value) => isInteger(value) || isListOf(isInteger)(value),
];

/**
 * Types of the fields that nothing else looks at before they are used: a flag that is 1 and not
 * true, or an end-of-sequence token given as text, would otherwise have no effect at all.
 */
const KINDS: { readonly [name in GenerationField]?: Kind } = {
  do_sample: FLAG,
  use_cache: FLAG,
  renormalize_logits: FLAG,
  remove_invalid_values: FLAG,
  output_scores: FLAG,
  output_logits: FLAG,
  return_dict_in_generate: FLAG,
  min_length: COUNT,
  min_new_tokens: COUNT,
  no_repeat_ngram_size: COUNT,
  max_time: NUMBER,
  length_penalty: NUMBER,
  guidance_scale: NUMBER,
  pad_token_id: INTEGER,
  bos_token_id: INTEGER,
  forced_bos_token_id: INTEGER,
  eos_token_id: ID_OR_IDS,
  forced_eos_token_id: ID_OR_IDS,
  suppress_tokens: IDS,
  begin_suppress_tokens: IDS,
  stop_strings: [
    'a text or a list of texts',
    (value) => typeof value === 'string' || isListOf((item) => typeof item === 'string')(value),
  ],
  exponential_decay_length_penalty: [
    'a list of two numbers, [start, factor]',
    (value) => isListOf(Number.isFinite)(value) && (value as unknown[]).length === 2,
  ],
};

/** @throws InvalidArgumentError naming the field; null and undefined are unset, whatever the type. */
export function checkFieldTypes(fields: GenerationFields): void {
  for (const [name, kind] of Object.entries(KINDS)) {
    const value = fields[name as GenerationField];
    if (value === null || value === undefined) continue;
    const [expected, holds] = kind;
    if (!holds(value)) throw invalidArgument(name, expected, value);
  }
}
