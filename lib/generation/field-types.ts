import { invalidArgument } from '../errors.js';
import { isListOf } from '../list-of.js';
import type { GenerationField, GenerationFields } from './generation-fields.js';
import {
  checkLargest,
  checkLimit,
  MAX_EOS_TOKENS,
  MAX_LENGTH,
  MAX_LISTED_TOKENS,
  MAX_PROPOSED_TOKENS,
  MAX_ROWS,
  MAX_STOP_CHARACTERS,
  MAX_STOP_STRINGS,
  MAX_TOKEN_ID,
} from './limits.js';

type Kind = [expected: string, holds: (value: unknown) => boolean];

const isInteger = Number.isInteger;
const listOf = (holds: (item: unknown) => boolean) => (value: unknown) => isListOf(value, holds);
/** Ids below zero stand for "none" in some files. */
const isId = (value: unknown) => isInteger(value) && Math.abs(value as number) <= MAX_TOKEN_ID;

const FLAG: Kind = ['true or false', (value) => typeof value === 'boolean'];
const COUNT: Kind = ['an integer >= 0', (value) => isInteger(value) && (value as number) >= 0];
const FINITE: Kind = ['a finite number', Number.isFinite];
/** For numbers of which `validate` or a processor says more. */
const NUMBER: Kind = ['a number', (value) => typeof value === 'number'];
const ID: Kind = ['a token id', isId];
const IDS: Kind = ['a list of token ids', listOf(isId)];
const ID_OR_IDS: Kind = [
  'a token id or a list of them',
  (value) => isId(value) || listOf(isId)(value),
];
const ANY: Kind = ['anything', () => true];

/**
 * Types of all fields. A flag that is 1 and not true, or an end-of-sequence token given as text,
 * would otherwise have no effect at all.
 */
const KINDS: { readonly [name in GenerationField]: Kind } = {
  max_length: NUMBER,
  max_new_tokens: NUMBER,
  min_length: COUNT,
  min_new_tokens: COUNT,
  early_stopping: [
    "a boolean or 'never'",
    (value) => typeof value === 'boolean' || typeof value === 'string',
  ],
  max_time: FINITE,
  stop_strings: [
    'a text or a list of texts',
    (value) => typeof value === 'string' || listOf((item) => typeof item === 'string')(value),
  ],
  do_sample: FLAG,
  num_beams: NUMBER,
  use_cache: FLAG,
  temperature: NUMBER,
  top_k: NUMBER,
  top_p: NUMBER,
  min_p: NUMBER,
  top_h: NUMBER,
  typical_p: NUMBER,
  epsilon_cutoff: NUMBER,
  eta_cutoff: NUMBER,
  repetition_penalty: NUMBER,
  encoder_repetition_penalty: NUMBER,
  length_penalty: FINITE,
  no_repeat_ngram_size: COUNT,
  // What the processors say of these two is more precise.
  bad_words_ids: ANY,
  sequence_bias: ANY,
  renormalize_logits: FLAG,
  forced_bos_token_id: ID,
  forced_eos_token_id: ID_OR_IDS,
  remove_invalid_values: FLAG,
  exponential_decay_length_penalty: [
    'a list of two numbers, [start, factor]',
    (value) => listOf(Number.isFinite)(value) && (value as unknown[]).length === 2,
  ],
  suppress_tokens: IDS,
  begin_suppress_tokens: IDS,
  guidance_scale: FINITE,
  num_return_sequences: NUMBER,
  output_scores: FLAG,
  output_logits: FLAG,
  return_dict_in_generate: FLAG,
  pad_token_id: ID,
  bos_token_id: ID,
  eos_token_id: ID_OR_IDS,
  prompt_lookup_num_tokens: NUMBER,
  max_matching_ngram_size: NUMBER,
  num_assistant_tokens: NUMBER,
  assistant_confidence_threshold: NUMBER,
};

/** Largest value of the fields that count. */
const LARGEST: { readonly [name in GenerationField]?: number } = {
  max_length: MAX_LENGTH,
  max_new_tokens: MAX_LENGTH,
  min_length: MAX_LENGTH,
  min_new_tokens: MAX_LENGTH,
  num_beams: MAX_ROWS,
  num_return_sequences: MAX_ROWS,
  top_k: MAX_TOKEN_ID,
  no_repeat_ngram_size: MAX_LENGTH,
  prompt_lookup_num_tokens: MAX_PROPOSED_TOKENS,
  max_matching_ngram_size: MAX_LENGTH,
  num_assistant_tokens: MAX_PROPOSED_TOKENS,
};

/** Most entries of the fields that are lists. */
const LONGEST: { readonly [name in GenerationField]?: number } = {
  eos_token_id: MAX_EOS_TOKENS,
  forced_eos_token_id: MAX_EOS_TOKENS,
  suppress_tokens: MAX_LISTED_TOKENS,
  begin_suppress_tokens: MAX_LISTED_TOKENS,
  bad_words_ids: MAX_LISTED_TOKENS,
  sequence_bias: MAX_LISTED_TOKENS,
  exponential_decay_length_penalty: 2,
  stop_strings: MAX_STOP_STRINGS,
};

function checkStopStrings(stop_strings: string | readonly string[]): void {
  const texts = typeof stop_strings === 'string' ? [stop_strings] : stop_strings;
  const characters = texts.reduce((sum, text) => sum + text.length, 0);
  checkLimit('stop_strings', characters, MAX_STOP_CHARACTERS, 'characters');
}

/**
 * @throws InvalidArgumentError naming the field that has another type or exceeds its limit; null and
 *   undefined are unset, whatever the type.
 */
export function checkFieldTypes(fields: GenerationFields): void {
  for (const [name, [expected, holds]] of Object.entries(KINDS) as [GenerationField, Kind][]) {
    const value: unknown = fields[name];
    if (value === null || value === undefined) continue;
    // Before anything looks at the entries: a list may claim any length.
    const longest = LONGEST[name];
    if (longest !== undefined && Array.isArray(value)) {
      checkLimit(name, value.length, longest, 'entries');
    }
    if (!holds(value)) throw invalidArgument(name, expected, value);
    const largest = LARGEST[name];
    if (largest !== undefined) checkLargest(name, value as number, largest);
  }
  if (fields.stop_strings != null) checkStopStrings(fields.stop_strings);
}
