import type { TokenIds } from '../tensor.js';
import type { GenerationFields } from './generation-fields.js';
import type { LogitsProcessorLike } from './logits-processor.js';
import type { PrefixAllowedTokens } from './logits-processors.js';
import type { GenerationStreamer } from './model.js';
import type { StopStringTokenizer } from './stop-strings.js';
import type { StoppingCriteriaLike } from './stopping-criteria.js';

/**
 * Options of generate: every field of a generation configuration (which wins over
 * `generation_config`), and those below.
 *
 * A field that is null or undefined here and in `generation_config` has the model's value.
 * A field that is null here is switched off, whatever the model's configuration says.
 */
export interface GenerateOptions extends GenerationFields {
  /** The prompts; one flat list is one prompt. Default: the bos token. */
  input_ids?: TokenIds | null;
  /** Another name of `input_ids`. */
  inputs?: TokenIds | null;
  /** 0 where `input_ids` holds padding. Default: inferred from the padding token, else all 1. */
  attention_mask?: TokenIds | null;
  /** Configuration of this call. */
  generation_config?: GenerationFields | null;
  /** Processors that run after the built-in ones and before the warpers. */
  logits_processor?: LogitsProcessorLike | Iterable<LogitsProcessorLike> | null;
  /** Criteria that end rows beside the built-in ones. */
  stopping_criteria?: StoppingCriteriaLike | Iterable<StoppingCriteriaLike> | null;
  /** Names the tokens that may follow. */
  prefix_allowed_tokens_fn?: PrefixAllowedTokens | null;
  /** Receives ids as they come. Not with beam search. */
  streamer?: GenerationStreamer | null;
  /** The model's tokenizer, for `stop_strings`. */
  tokenizer?: StopStringTokenizer | null;
  /** Prompts of the unconditional text for `guidance_scale`. Default: each prompt's last token. */
  negative_prompt_ids?: TokenIds | null;
  /** 0 where `negative_prompt_ids` holds padding. */
  negative_prompt_attention_mask?: TokenIds | null;
  /** Accepted, as tokenizers produce it; decoder models have no use for it. */
  token_type_ids?: TokenIds | null;

  /** Seed of the random numbers, 64 bits. The same seed gives the same text. Default: random. */
  seed?: number | bigint | null;
  /** Ends the call within a step; it rejects with AbortError and frees what it had taken. */
  signal?: AbortSignal | null;
  /**
   * Log-probabilities of the chosen tokens, and of the `k` most probable ones, under the
   * distribution each token was chosen from. The result is then an object.
   */
  output_logprobs?: number | null;
}

/** Names in {@link GenerateOptions} that are no configuration fields. */
export const CALL_OPTIONS = [
  'input_ids',
  'inputs',
  'attention_mask',
  'generation_config',
  'logits_processor',
  'stopping_criteria',
  'prefix_allowed_tokens_fn',
  'streamer',
  'tokenizer',
  'negative_prompt_ids',
  'negative_prompt_attention_mask',
  'token_type_ids',
  'seed',
  'signal',
  'output_logprobs',
] as const satisfies readonly Exclude<keyof GenerateOptions, keyof GenerationFields>[];
