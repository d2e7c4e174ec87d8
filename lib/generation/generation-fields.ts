import type { SequenceBias } from './logits-processors.js';

/**
 * The fields of a generation configuration, under transformers' names. Every one may be null or
 * left out, which means that it is unset: the model's own configuration decides, then
 * {@link GENERATION_DEFAULTS}.
 */
export interface GenerationFields {
  /** Longest result in tokens, prompt included. `max_new_tokens` wins over it. */
  max_length?: number | null;
  /** Most tokens to generate. Default: 20, where `max_length` is unset too. */
  max_new_tokens?: number | null;
  /** Shortest result in tokens, prompt included. `min_new_tokens` wins over it. */
  min_length?: number | null;
  /** Fewest tokens to generate. */
  min_new_tokens?: number | null;
  /**
   * When a beam search ends: true, at num_beams finished candidates; false, when better ones are
   * unlikely; 'never', when there cannot be better ones. Default: false.
   */
  early_stopping?: boolean | 'never' | null;
  /** Seconds after which generation ends with the step it is in. */
  max_time?: number | null;
  /** Texts that end generation once the output contains them. Needs `tokenizer` in the call. */
  stop_strings?: string | readonly string[] | null;

  /** Draw tokens at random instead of taking the most probable. Default: false. */
  do_sample?: boolean | null;
  /** Beams of beam search; 1 is none. Default: 1. */
  num_beams?: number | null;

  /** Accepted for compatibility; the engine always has its cache, and answers do not depend on it. */
  use_cache?: boolean | null;

  /** Scores are divided by it; > 0. Default: 1. Sampling only. */
  temperature?: number | null;
  /** Keep this many most probable tokens, and ties; 0 is off. Default: 50. Sampling only. */
  top_k?: number | null;
  /** Keep the most probable tokens that add up to this probability; 1 is off. Sampling only. */
  top_p?: number | null;
  /** Keep tokens at least this many times as probable as the best one; 0 to 1. Sampling only. */
  min_p?: number | null;
  /** Keep the most probable tokens within this part of the entropy; (0, 1]. Sampling only. */
  top_h?: number | null;
  /** Keep the most typical tokens that add up to this probability; 1 is off. Sampling only. */
  typical_p?: number | null;
  /** Drop tokens less probable than this; 0 is off. Sampling only. */
  epsilon_cutoff?: number | null;
  /** Drop tokens below min(eta, sqrt(eta) * exp(-entropy)); 0 is off. Sampling only. */
  eta_cutoff?: number | null;
  /** Penalty for tokens that have occurred, prompt included; 1 is off. */
  repetition_penalty?: number | null;
  /** Above 1 favours tokens of the prompt; 1 is off. */
  encoder_repetition_penalty?: number | null;
  /** Beam scores are divided by length to this power. Default: 1. Beam search only. */
  length_penalty?: number | null;
  /** No n-gram of this size occurs twice; 0 is off. */
  no_repeat_ngram_size?: number | null;
  /** Token sequences that are never generated. */
  bad_words_ids?: readonly (readonly number[])[] | null;
  /** Make scores log-probabilities again after all processors. */
  renormalize_logits?: boolean | null;
  /** First generated token, where the prompt is one token long. */
  forced_bos_token_id?: number | null;
  /** Last token when `max_length` is reached. */
  forced_eos_token_id?: number | readonly number[] | null;
  /** Replace NaN and infinities among the model's logits. */
  remove_invalid_values?: boolean | null;
  /** [start, factor]: raises the end-of-sequence score exponentially after `start` new tokens. */
  exponential_decay_length_penalty?: readonly [number, number] | null;
  /** Tokens that are never generated. */
  suppress_tokens?: readonly number[] | null;
  /** Tokens that are not generated first. */
  begin_suppress_tokens?: readonly number[] | null;
  /** Token sequences and the bias of their last token: `[[[7], 2.5], [[8, 9], -3]]`. */
  sequence_bias?: SequenceBias | null;
  /** Classifier-free guidance; 1 is off. See `negative_prompt_ids` of generate. */
  guidance_scale?: number | null;

  /** Results for each prompt. Default: 1. */
  num_return_sequences?: number | null;
  /** Processed scores of every step in the result; needs `return_dict_in_generate`. */
  output_scores?: boolean | null;
  /** The model's logits of every step in the result; needs `return_dict_in_generate`. */
  output_logits?: boolean | null;
  /** The result is an object whose `sequences` is the Tensor of ids. */
  return_dict_in_generate?: boolean | null;

  /** Fills rows that have finished. Default: the first end-of-sequence token. */
  pad_token_id?: number | null;
  /** The prompt, where none is given. */
  bos_token_id?: number | null;
  /** Token or tokens that end a row. */
  eos_token_id?: number | readonly number[] | null;

  /** Prompt-lookup decoding: tokens proposed a step, copied from the text so far. */
  prompt_lookup_num_tokens?: number | null;
  /** Prompt-lookup decoding: longest n-gram to look up. Default: 2. */
  max_matching_ngram_size?: number | null;
  /** Tokens a draft model proposes a step. Default: 20. */
  num_assistant_tokens?: number | null;
  /** Probability below which a draft model stops proposing. Default: 0.4. */
  assistant_confidence_threshold?: number | null;
}

/** Name of a {@link GenerationFields} field. */
export type GenerationField = keyof GenerationFields;

/** All field names, in the order of transformers' documentation. */
export const GENERATION_FIELDS = [
  'max_length',
  'max_new_tokens',
  'min_length',
  'min_new_tokens',
  'early_stopping',
  'max_time',
  'stop_strings',
  'do_sample',
  'num_beams',
  'use_cache',
  'temperature',
  'top_k',
  'top_p',
  'min_p',
  'top_h',
  'typical_p',
  'epsilon_cutoff',
  'eta_cutoff',
  'repetition_penalty',
  'encoder_repetition_penalty',
  'length_penalty',
  'no_repeat_ngram_size',
  'bad_words_ids',
  'renormalize_logits',
  'forced_bos_token_id',
  'forced_eos_token_id',
  'remove_invalid_values',
  'exponential_decay_length_penalty',
  'suppress_tokens',
  'begin_suppress_tokens',
  'sequence_bias',
  'guidance_scale',
  'num_return_sequences',
  'output_scores',
  'output_logits',
  'return_dict_in_generate',
  'pad_token_id',
  'bos_token_id',
  'eos_token_id',
  'prompt_lookup_num_tokens',
  'max_matching_ngram_size',
  'num_assistant_tokens',
  'assistant_confidence_threshold',
] as const satisfies readonly GenerationField[];

/** What unset fields mean in the end (transformers `_get_default_generation_params`). */
export const GENERATION_DEFAULTS = {
  max_length: 20,
  min_length: 0,
  early_stopping: false,
  do_sample: false,
  num_beams: 1,
  use_cache: true,
  temperature: 1,
  top_k: 50,
  top_p: 1,
  typical_p: 1,
  epsilon_cutoff: 0,
  eta_cutoff: 0,
  repetition_penalty: 1,
  encoder_repetition_penalty: 1,
  length_penalty: 1,
  no_repeat_ngram_size: 0,
  remove_invalid_values: false,
  num_return_sequences: 1,
  output_scores: false,
  return_dict_in_generate: false,
  num_assistant_tokens: 20,
  assistant_confidence_threshold: 0.4,
} as const satisfies GenerationFields;

/**
 * Fields that configuration files written by transformers may hold and this library has no use
 * for, with the values at which they change nothing.
 */
export const NEUTRAL_FIELDS: Readonly<Record<string, readonly unknown[] | 'any'>> = {
  transformers_version: 'any',
  _from_model_config: 'any',
  _commit_hash: 'any',
  cache_implementation: 'any',
  cache_config: 'any',
  max_cache_len: 'any',
  return_legacy_cache: 'any',
  compile_config: 'any',
  disable_compile: 'any',
  prefill_chunk_size: 'any',
  low_memory: 'any',
  is_assistant: 'any',
  num_assistant_tokens_schedule: 'any',
  assistant_lookbehind: 'any',
  target_lookbehind: 'any',
  output_attentions: [false],
  output_hidden_states: [false],
  encoder_no_repeat_ngram_size: [0],
  decoder_start_token_id: 'any',
  num_beam_groups: [1],
  diversity_penalty: [0],
  penalty_alpha: [0],
  token_healing: [false],
  watermarking_config: [],
  dola_layers: [],
  constraints: [],
  force_words_ids: [],
  assistant_early_exit: [],
  assistant_ensemble_weight: [],
  speculation_type: [],
  use_mtp: [false],
  continuous_batching_config: [],
  trust_remote_code: [false],
};

/** Whether a field that is not in {@link GENERATION_FIELDS} can be left out without effect. */
export function isNeutral(name: string, value: unknown): boolean {
  if (value === null || value === undefined) return true;
  const neutral = Object.hasOwn(NEUTRAL_FIELDS, name) ? NEUTRAL_FIELDS[name] : undefined;
  return neutral === 'any' || (neutral?.includes(value) ?? false);
}

/** What files say of themselves, and the switch for code of a model's own: nobody expects an effect here. */
const BOOKKEEPING = [
  'transformers_version',
  '_from_model_config',
  '_commit_hash',
  'trust_remote_code',
];
/** Fields that are kept and checked, and speak of a draft model, of which there is none. */
const OF_DRAFT_MODELS: readonly string[] = [
  'num_assistant_tokens',
  'assistant_confidence_threshold',
];

/** Whether a call that gives this option expects something of it that doesn't come. */
export function hasNoEffect(name: string, value: unknown): boolean {
  if (value === null || value === undefined) return false;
  if (OF_DRAFT_MODELS.includes(name)) return true;
  return NEUTRAL_FIELDS[name] === 'any' && !BOOKKEEPING.includes(name);
}

const known: ReadonlySet<string> = new Set(GENERATION_FIELDS);

/** Whether this is the name of a generation field. */
export function isGenerationField(name: string): name is GenerationField {
  return known.has(name);
}
