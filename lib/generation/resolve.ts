/** From what the caller, a configuration and the model say to what a call does. */

import { InvalidArgumentError, invalidArgument } from '../errors.js';
import { warnOnce } from '../warnings.js';
import { GenerationConfig, unknownField } from './configuration.js';
import { remedyFor } from './foreign-names.js';
import {
  GENERATION_DEFAULTS,
  GENERATION_FIELDS,
  type GenerationFields,
  hasNoEffect,
  isGenerationField,
  isNeutral,
  NEUTRAL_FIELDS,
} from './generation-fields.js';
import { endTokens } from './logits-processor-list.js';
import { CALL_OPTIONS, type GenerateOptions } from './options.js';
import { validate } from './validation.js';

/** A configuration in which null means "off" and the fields every call needs have values. */
export interface ResolvedConfig extends GenerationFields {
  max_length: number;
  min_length: number;
  do_sample: boolean;
  num_beams: number;
  num_return_sequences: number;
  early_stopping: boolean | 'never';
  length_penalty: number;
  return_dict_in_generate: boolean;
  output_scores: boolean;
  output_logits: boolean;
  /** End-of-sequence tokens; null for none. */
  eos: readonly number[] | null;
  /** `pad_token_id`, else the first end-of-sequence token, else null. */
  pad: number | null;
}

/** A resolved configuration whose lengths still wait for the prompt's. */
export interface UnmeasuredConfig {
  config: ResolvedConfig;
  /** Nobody set `max_length` or `min_length`. */
  defaultMaxLength: boolean;
  defaultMinLength: boolean;
}

/** Fields without which a call cannot run: null in the call leaves the value below it. */
const REQUIRED = [
  'max_length',
  'min_length',
  'do_sample',
  'num_beams',
  'num_return_sequences',
  'early_stopping',
  'length_penalty',
] as const;

function reasonOf(name: string): string {
  if (name.includes('assistant') || name.includes('lookbehind')) {
    return 'there are no draft models; for speculation there is `prompt_lookup_num_tokens`';
  }
  if (name === 'low_memory') return 'the cache is paged, and beams share its pages';
  if (name === 'prefill_chunk_size') return 'prompts are read in pieces as it is';
  if (name === 'decoder_start_token_id') return 'the models are decoders only';
  return "the cache and the kernels are the library's own";
}

/** The configuration fields among the options of a call. Refuses options that do not exist. */
function fieldsOf(options: GenerateOptions): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  const unused: string[] = [];
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    if (hasNoEffect(name, value)) {
      warnOnce(`\`${name}\` has no effect here: ${reasonOf(name)}.`, `no-effect:${name}`);
    }
    if (isGenerationField(name)) fields[name] = value;
    else if ((CALL_OPTIONS as readonly string[]).includes(name) || isNeutral(name, value)) continue;
    else if (Object.hasOwn(NEUTRAL_FIELDS, name)) throw unknownField(name);
    // A tokenizer's result is spread into the options, its method included.
    else if (name !== 'to' || typeof value !== 'function') unused.push(name);
  }
  if (unused.length > 0) {
    const names = unused.map((name) => `'${name}'`).join(', ');
    const all = [...CALL_OPTIONS, ...GENERATION_FIELDS];
    throw new InvalidArgumentError(
      `The following \`model_kwargs\` are not used by the model: [${names}] (note: typos in the ` +
        'generate arguments will also show up in this list)',
      {
        subject: unused[0],
        remedy: remedyFor(unused[0] as string, all),
      },
    );
  }
  return fields;
}

/**
 * Merges, from strongest to weakest: the call's fields, its `generation_config`, the model's
 * configuration, the defaults. The weaker ones fill nulls only.
 *
 * @throws InvalidArgumentError for unknown options and values that cannot be meant.
 */
export function resolveConfig(
  options: GenerateOptions,
  model_config: GenerationFields,
): UnmeasuredConfig {
  const call = fieldsOf(options);
  const given = options.generation_config ?? null;
  if (given !== null && typeof given !== 'object') {
    throw invalidArgument('generation_config', 'a GenerationConfig or an object', given);
  }
  // Made anew where it is one already: fields may have been set, and misspelt, since.
  const own = new GenerationConfig(given ?? {}).to_dict();
  if (typeof model_config !== 'object' || model_config === null) {
    throw invalidArgument("the model's generation_config", 'a GenerationConfig', model_config);
  }
  for (const [name, value] of Object.entries(model_config)) {
    if (!isGenerationField(name) && !isNeutral(name, value)) throw unknownField(name);
  }
  const model = model_config as Record<string, unknown>;

  const merged: Record<string, unknown> = {};
  for (const name of GENERATION_FIELDS) {
    const defaults = GENERATION_DEFAULTS as GenerationFields;
    merged[name] = own[name] ?? model[name] ?? defaults[name] ?? null;
  }
  for (const [name, value] of Object.entries(call)) {
    if (value !== null || !(REQUIRED as readonly string[]).includes(name)) merged[name] = value;
  }
  if (given !== null && Object.keys(call).length > 0) {
    const names = Object.keys(call)
      .map((name) => `'${name}'`)
      .join(', ');
    warnOnce(
      'Passing `generation_config` together with generation-related arguments=({' +
        `${names}}) is deprecated and will be removed in future versions. Please pass either a ` +
        '`generation_config` object OR all generation parameters explicitly, but not both.',
    );
  }
  validate(merged, new Set([...Object.keys(own), ...Object.keys(call)]));

  const fields = merged as GenerationFields;
  const eos = endTokens(fields.eos_token_id);
  const unset = (name: 'max_length' | 'min_length'): boolean =>
    (call[name] ?? own[name] ?? model[name] ?? null) === null;
  return {
    config: {
      ...(fields as ResolvedConfig),
      do_sample: fields.do_sample === true,
      return_dict_in_generate: fields.return_dict_in_generate === true,
      output_scores: fields.return_dict_in_generate === true && fields.output_scores === true,
      output_logits: fields.return_dict_in_generate === true && fields.output_logits === true,
      eos,
      pad: fields.pad_token_id ?? eos?.[0] ?? null,
    },
    defaultMaxLength: unset('max_length'),
    defaultMinLength: unset('min_length'),
  };
}

/**
 * Turns `max_new_tokens` and `min_new_tokens` into lengths and checks them against the prompt's.
 *
 * @param length of the prompts in tokens, padding included.
 * @throws InvalidArgumentError where the prompt leaves no room.
 */
export function resolveLengths(
  { config, defaultMaxLength, defaultMinLength }: UnmeasuredConfig,
  length: number,
  max_position_embeddings: number | null,
): ResolvedConfig {
  const out = { ...config };
  const both = (kind: 'max' | 'min'): string =>
    `Both \`${kind}_new_tokens\` (=${config[`${kind}_new_tokens`]}) and \`${kind}_length\`(=` +
    `${config[`${kind}_length`]}) seem to have been set. \`${kind}_new_tokens\` will take ` +
    'precedence. Please refer to the documentation for more information. ' +
    '(https://huggingface.co/docs/transformers/main/en/main_classes/text_generation)';

  if (config.max_new_tokens != null) {
    if (!defaultMaxLength) warnOnce(both('max'));
    out.max_length = config.max_new_tokens + length;
  } else if (defaultMaxLength) {
    out.max_length = config.max_length + length;
    if (max_position_embeddings !== null) {
      out.max_length = Math.min(out.max_length, max_position_embeddings);
    }
    warnOnce(
      `Using the model-agnostic default \`max_length\` (=${out.max_length}) to control the ` +
        'generation length. We recommend setting `max_new_tokens` to control the maximum length ' +
        'of the generation.',
      'default max_length',
    );
  }
  if (config.min_new_tokens != null) {
    if (!defaultMinLength) warnOnce(both('min'));
    out.min_length = config.min_new_tokens + length;
  }

  if (length >= out.max_length) {
    throw new InvalidArgumentError(
      `Input length of input_ids is ${length}, but \`max_length\` is set to ${out.max_length}. ` +
        'This can lead to unexpected behavior. You should consider increasing `max_length` or, ' +
        'better yet, setting `max_new_tokens`.',
      { subject: 'max_length' },
    );
  }
  const suffix =
    ' Generation will stop at the defined maximum length. You should decrease the minimum length ' +
    'and/or increase the maximum length.';
  if (config.min_new_tokens == null && out.min_length > out.max_length) {
    warnOnce(
      `Unfeasible length constraints: \`min_length\` (${out.min_length}) is larger than the ` +
        `maximum possible length (${out.max_length}).${suffix}`,
    );
  }
  if (config.min_new_tokens != null && out.min_length > out.max_length) {
    warnOnce(
      `Unfeasible length constraints: \`min_new_tokens\` (${config.min_new_tokens}), when added ` +
        `to the prompt length (${length}), is larger than the maximum possible length ` +
        `(${out.max_length}).${suffix}`,
    );
  }
  return out;
}
