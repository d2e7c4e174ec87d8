import { InvalidArgumentError, invalidArgument, show } from '../errors.js';
import { warnOnce } from '../warnings.js';
import { requireCount, requireIds } from './checks.js';
import { GenerationConfig } from './configuration.js';
import { GENERATION_DEFAULTS, type GenerationFields } from './generation-fields.js';
import { checkLimit, MAX_EOS_TOKENS, MAX_LENGTH } from './limits.js';
import {
  type LogitsProcessorLike,
  LogitsProcessorList,
  toLogitsProcessorList,
} from './logits-processor.js';
import * as P from './logits-processors.js';
import * as W from './logits-warpers.js';

/** What {@link get_logits_processor} needs beside the configuration. */
export interface LogitsProcessorContext {
  /** Length of the prompt in tokens, padding included. */
  input_ids_seq_length: number;
  /** End-of-sequence token or tokens; those of the configuration by default. */
  eos_token_id?: number | readonly number[] | null;
  /** The prompts without padding, one a row, for `encoder_repetition_penalty`. */
  encoder_input_ids?: readonly (readonly number[])[] | null;
  /** Left-padding tokens of each row; content-based processors skip them. */
  padding?: readonly number[] | null;
  /** The caller's own processors. */
  logits_processor?: LogitsProcessorLike | Iterable<LogitsProcessorLike> | null;
  /** Tokens that may follow, by row. */
  prefix_allowed_tokens_fn?: P.PrefixAllowedTokens | null;
  /** The processor for `guidance_scale`, which needs the model. */
  guidance?: LogitsProcessorLike | null;
}

/**
 * The processors that generate uses for a configuration, in transformers' order: guidance,
 * sequence bias, repetition penalties, n-grams, bad words, minimum lengths, forced tokens, invalid
 * values, length decay, suppressed tokens, the caller's own; when sampling the warpers:
 * temperature, top_h, top_k, top_p, min_p, typical, epsilon, eta; last the normalisation.
 *
 * Unset fields have their defaults, so `{ do_sample: true }` alone has `top_k` 50.
 */
export function get_logits_processor(
  generation_config: GenerationConfig | GenerationFields,
  context: LogitsProcessorContext,
): LogitsProcessorList {
  if (typeof context !== 'object' || context === null) {
    throw invalidArgument('context', 'an object with input_ids_seq_length', context);
  }
  requireCount('input_ids_seq_length', context.input_ids_seq_length, 0, MAX_LENGTH);
  const given = new GenerationConfig(generation_config as GenerationFields).to_dict();
  const config: GenerationFields = { ...GENERATION_DEFAULTS, ...given };
  const length = context.input_ids_seq_length;
  if (config.max_new_tokens != null) config.max_length = length + config.max_new_tokens;
  if (config.min_new_tokens != null) config.min_length = length + config.min_new_tokens;
  return buildLogitsProcessors(config, context);
}

/** {@link get_logits_processor} for a configuration whose null fields mean "off". */
export function buildLogitsProcessors(
  config: GenerationFields,
  context: LogitsProcessorContext,
): LogitsProcessorList {
  const length = context.input_ids_seq_length;
  const padding = context.padding ?? null;
  const eos = endTokens(context.eos_token_id ?? config.eos_token_id);
  const list = new LogitsProcessorList();

  if (config.guidance_scale != null && config.guidance_scale !== 1) {
    if (context.guidance == null) {
      throw new InvalidArgumentError('`guidance_scale` needs the model', {
        remedy: 'Pass it to generate',
      });
    }
    list.push(context.guidance);
  }
  if (config.sequence_bias != null) {
    list.push(new P.SequenceBiasLogitsProcessor(config.sequence_bias));
  }
  if (config.encoder_repetition_penalty != null && config.encoder_repetition_penalty !== 1) {
    if (context.encoder_input_ids == null) {
      warnOnce(
        'Passing `encoder_repetition_penalty` requires some form of `input_ids` to be passed to ' +
          '`generate`, ignoring the argument.',
      );
    } else {
      list.push(
        new P.EncoderRepetitionPenaltyLogitsProcessor(
          config.encoder_repetition_penalty,
          context.encoder_input_ids,
        ),
      );
    }
  }
  if (config.repetition_penalty != null && config.repetition_penalty !== 1) {
    list.push(new P.RepetitionPenaltyLogitsProcessor(config.repetition_penalty, null, padding));
  }
  if (config.no_repeat_ngram_size != null && config.no_repeat_ngram_size > 0) {
    list.push(new P.NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size, padding));
  }
  if (config.bad_words_ids != null) {
    list.push(new P.NoBadWordsLogitsProcessor(config.bad_words_ids, eos));
  }
  if (config.min_length != null && eos !== null && config.min_length > 0) {
    list.push(new P.MinLengthLogitsProcessor(config.min_length, eos));
  }
  if (config.min_new_tokens != null && eos !== null && config.min_new_tokens > 0) {
    list.push(new P.MinNewTokensLengthLogitsProcessor(length, config.min_new_tokens, eos));
  }
  if (context.prefix_allowed_tokens_fn != null) {
    list.push(
      new P.PrefixConstrainedLogitsProcessor(
        context.prefix_allowed_tokens_fn,
        config.num_beams ?? 1,
      ),
    );
  }
  if (config.forced_bos_token_id != null) {
    list.push(new P.ForcedBOSTokenLogitsProcessor(config.forced_bos_token_id));
  }
  if (config.forced_eos_token_id != null) {
    list.push(
      new P.ForcedEOSTokenLogitsProcessor(config.max_length as number, config.forced_eos_token_id),
    );
  }
  if (config.remove_invalid_values === true) list.push(new P.InfNanRemoveLogitsProcessor());
  if (config.exponential_decay_length_penalty != null) {
    if (eos === null) {
      throw new InvalidArgumentError('`exponential_decay_length_penalty` needs an `eos_token_id`', {
        subject: 'exponential_decay_length_penalty',
      });
    }
    list.push(
      new P.ExponentialDecayLengthPenalty(config.exponential_decay_length_penalty, eos, length),
    );
  }
  if (config.suppress_tokens != null) {
    list.push(new P.SuppressTokensLogitsProcessor(config.suppress_tokens));
  }
  if (config.begin_suppress_tokens != null) {
    // A forced first token comes first: the one after it begins the text.
    const begin = length > 1 || config.forced_bos_token_id == null ? length : length + 1;
    list.push(new P.SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens, begin));
  }

  const merged = mergeWithCustom(
    list.items,
    toLogitsProcessorList(context.logits_processor).items,
    'logits processor',
  );
  const processors = new LogitsProcessorList(merged);
  if (config.do_sample === true) processors.extend(warpers(config, eos));
  if (config.renormalize_logits === true) processors.push(new W.LogitNormalization());
  return processors;
}

function warpers(config: GenerationFields, eos: readonly number[] | null): LogitsProcessorLike[] {
  const list: LogitsProcessorLike[] = [];
  const filter = Number.NEGATIVE_INFINITY;
  // Beams need one token that goes on beside every one that ends.
  const keep = (config.num_beams ?? 1) > 1 ? (eos?.length ?? 1) + 1 : 1;
  if (config.temperature != null && config.temperature !== 1) {
    list.push(new W.TemperatureLogitsWarper(config.temperature));
  }
  if (config.top_h != null) list.push(new W.TopHLogitsWarper(config.top_h));
  if (config.top_k != null && config.top_k !== 0) {
    list.push(new W.TopKLogitsWarper(config.top_k, filter, keep));
  }
  // Written so that a value out of range reaches the warper, which refuses it.
  if (config.top_p != null && config.top_p !== 1) {
    list.push(new W.TopPLogitsWarper(config.top_p, filter, keep));
  }
  if (config.min_p != null) list.push(new W.MinPLogitsWarper(config.min_p, filter, keep));
  if (config.typical_p != null && config.typical_p !== 1) {
    list.push(new W.TypicalLogitsWarper(config.typical_p, filter, keep));
  }
  if (config.epsilon_cutoff != null && config.epsilon_cutoff !== 0) {
    list.push(new W.EpsilonLogitsWarper(config.epsilon_cutoff, filter, keep));
  }
  if (config.eta_cutoff != null && config.eta_cutoff !== 0) {
    list.push(new W.EtaLogitsWarper(config.eta_cutoff, filter, keep));
  }
  return list;
}

/** End-of-sequence tokens as a list, null for none. Early Llama checkpoints write -1 for that. */
export function endTokens(
  ids: number | readonly number[] | null | undefined,
): readonly number[] | null {
  if (ids === null || ids === undefined) return null;
  const list = typeof ids === 'number' ? [ids] : ids;
  if (Array.isArray(list)) checkLimit('eos_token_id', list.length, MAX_EOS_TOKENS, 'entries');
  const ends = Array.isArray(list)
    ? list.filter((id) => !(typeof id === 'number' && id < 0))
    : list;
  if (Array.isArray(list) && ends.length < list.length) {
    warnOnce(
      `\`eos_token_id\` should consist of positive integers, but is ${show(list)}. Your generation will not stop until the maximum length is reached. Depending on other flags, it may even crash.`,
      'negative-eos',
    );
  }
  const checked = requireIds('eos_token_id', ends, MAX_EOS_TOKENS);
  return checked.length > 0 ? checked : null;
}

/**
 * The caller's entries joined to the built-in ones. One of the same class stands in the built-in
 * one's place, with a warning; the others follow.
 */
export function mergeWithCustom<T extends object>(
  defaults: readonly T[],
  custom: readonly T[],
  kind: 'logits processor' | 'stopping criteria',
): T[] {
  const merged = defaults.map((entry) => {
    const replacement = custom.find(
      (c) => c.constructor === entry.constructor && c.constructor !== Function,
    );
    if (replacement === undefined) return entry;
    const { name } = entry.constructor;
    warnOnce(
      `A custom ${kind} of type ${name} has been passed to \`.generate()\`, but it was also ` +
        `created in \`.generate()\`, given its parameterization. The custom ${name} will take ` +
        `precedence. Please check the docstring of ${name} to see related \`.generate()\` flags.`,
    );
    return replacement;
  });
  for (const entry of custom) if (!merged.includes(entry)) merged.push(entry);
  return merged;
}
