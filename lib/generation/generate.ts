import { requireOptions } from '../check-options.js';
import { InvalidArgumentError, invalidArgument } from '../errors.js';
import { Tensor } from '../tensor.js';
import { warnOnce } from '../warnings.js';
import { beamSearch } from './beam-search.js';
import { type DecodeRequest, decode } from './decode-loop.js';
import { UnbatchedClassifierFreeGuidanceLogitsProcessor } from './guidance.js';
import { type PreparedInputs, prepareInputs } from './inputs.js';
import {
  checkLargest,
  checkLimit,
  MAX_LOGPROBS,
  MAX_PROMPT_TOKENS,
  MAX_ROWS,
  MAX_STEP_SCORES,
} from './limits.js';
import { buildLogitsProcessors, mergeWithCustom } from './logits-processor-list.js';
import type { GenerationModel, GenerationStreamer } from './model.js';
import type { GenerateOptions } from './options.js';
import type { GenerateOutput } from './output.js';
import { promptLookup } from './prompt-lookup.js';
import { nextSeed, toSeed } from './random.js';
import { type ResolvedConfig, resolveConfig, resolveLengths } from './resolve.js';
import { StopStringCriteria } from './stop-strings.js';
import {
  EosTokenCriteria,
  MaxLengthCriteria,
  MaxTimeCriteria,
  remindOfLength,
  type StoppingCriteriaLike,
  StoppingCriteriaList,
  toStoppingCriteriaList,
} from './stopping-criteria.js';
import { CallScope } from './user-code.js';

/** Options for which the result is an object. */
export type GenerateDictOptions = GenerateOptions &
  ({ return_dict_in_generate: true } | { output_logprobs: number });

/**
 * Options for which the result is a Tensor. A `return_dict_in_generate` that comes from a
 * configuration cannot be seen by the types: give it in the call.
 */
export type GenerateTensorOptions = GenerateOptions & {
  return_dict_in_generate?: false | null;
  output_logprobs?: null;
};

/**
 * Generates from prompts, as transformers' `generate` does.
 *
 * @returns int64 [prompts * num_return_sequences, length]: prompts and answers, rows that ended
 *   early filled with padding; or, with `return_dict_in_generate` or `output_logprobs`, an object
 *   whose `sequences` is that tensor.
 * @throws InvalidArgumentError for options that cannot be meant.
 * @throws AbortError when `signal` fires, DisposedError when the model is disposed: a streamer or
 *   criterion that gave a promise is then waited for no longer. Everything the call took is released, as
 *   it is when a streamer, processor or criterion throws; the call then rejects with that error.
 */
export function generate(
  model: GenerationModel,
  options: GenerateDictOptions,
): Promise<GenerateOutput>;
export function generate(model: GenerationModel, options?: GenerateTensorOptions): Promise<Tensor>;
export function generate(
  model: GenerationModel,
  options: GenerateOptions,
): Promise<Tensor | GenerateOutput>;
export async function generate(
  model: GenerationModel,
  given: GenerateOptions = {},
): Promise<Tensor | GenerateOutput> {
  checkCall(given);
  // Read once: what is checked is what is used.
  const options: GenerateOptions = { ...given };
  const scope = new CallScope(options.signal, model.disposal);
  try {
    return await run(model, options, scope);
  } finally {
    scope.close();
  }
}

async function run(
  model: GenerationModel,
  options: GenerateOptions,
  scope: CallScope,
): Promise<Tensor | GenerateOutput> {
  const output_logprobs = checkLogprobs(options.output_logprobs ?? null);
  const unmeasured = resolveConfig(options, model.generation_config);
  const mode = modeOf(unmeasured.config);
  if (options.streamer != null && mode === 'beam_search') {
    throw new InvalidArgumentError(
      '`streamer` cannot be used with beam search (yet!). Make sure that `num_beams` is set to 1.',
      { subject: 'streamer' },
    );
  }
  const { vocab_size } = model.config;
  const inputs = prepareInputs(
    options.input_ids ?? options.inputs ?? null,
    options.attention_mask ?? null,
    {
      vocab_size,
      bos: unmeasured.config.bos_token_id ?? null,
      eos: unmeasured.config.eos,
      pad_token_id: unmeasured.config.pad_token_id ?? null,
    },
  );
  const limit = model.config.max_position_embeddings ?? null;
  const config = resolveLengths(unmeasured, inputs.length, limit);
  checkBatch(inputs, config, vocab_size);
  const criteria = criteriaOf(config, options, limit);
  scope.deadline = deadlineOf(criteria);
  remindOfLength(inputs.length, limit);
  const seed = options.seed == null ? nextSeed() : toSeed(options.seed);

  const session = await model.openSession();
  const streamer = options.streamer ?? null;
  try {
    checkRoom(inputs, config, session.max_length);
    const processors = buildLogitsProcessors(config, {
      input_ids_seq_length: inputs.length,
      eos_token_id: config.eos,
      encoder_input_ids: repeat(inputs.prompts, rowsOf(config)),
      padding: repeat(inputs.padding, rowsOf(config)),
      logits_processor: options.logits_processor,
      prefix_allowed_tokens_fn: options.prefix_allowed_tokens_fn,
      guidance:
        config.guidance_scale == null || config.guidance_scale === 1
          ? null
          : new UnbatchedClassifierFreeGuidanceLogitsProcessor(config.guidance_scale, session, {
              prompts: guidancePrompts(options, model, inputs),
              copies: rowsOf(config),
              promptLength: inputs.length,
              signal: scope.signal,
            }),
    });
    const prompts = repeat(inputs.rows, config.num_return_sequences).map((row) => row.slice());
    await scope.wait(streamer?.put(prompts));
    const request: DecodeRequest = {
      session,
      config,
      inputs,
      processors,
      criteria,
      streamer,
      seed,
      scope,
      output_logprobs,
    };
    const output = await METHODS[mode](request);
    await scope.wait(streamer?.end(), END_GRACE);
    remindOfLength((output.sequences.dims[1] as number) - 1, limit);
    const asDict = config.return_dict_in_generate || output_logprobs !== null;
    return asDict ? output : output.sequences;
  } catch (error) {
    await abandon(streamer, error, scope);
    throw error;
  } finally {
    session.dispose();
  }
}

/** Milliseconds a streamer's `end` may take where the call's time is over. */
const END_GRACE = 1000;

/** What Python's positional arguments become when ported word by word, and objects of another kind. */
function checkCall(options: GenerateOptions): void {
  requireOptions('generate', options);
  if (options instanceof Tensor) {
    throw new InvalidArgumentError('generate takes one object of options and not a Tensor', {
      subject: 'input_ids',
      remedy: 'Write generate({ input_ids, ...options }).',
    });
  }
  const { streamer, tokenizer } = options;
  if (streamer != null && !(hasMethod(streamer, 'put') && hasMethod(streamer, 'end'))) {
    throw invalidArgument('streamer', 'an object with put() and end()', streamer);
  }
  if (tokenizer != null && !(hasMethod(tokenizer, 'get_vocab') && hasMethod(tokenizer, 'decode'))) {
    throw invalidArgument('tokenizer', "the model's tokenizer", tokenizer);
  }
}

function hasMethod(value: unknown, name: string): boolean {
  return typeof (value as Record<string, unknown>)[name] === 'function';
}

/** Tells a streamer of a failure, so that nobody waits for it; the error to report stays the first. */
async function abandon(
  streamer: GenerationStreamer | null,
  error: unknown,
  scope: CallScope,
): Promise<void> {
  try {
    await scope.wait(streamer?.fail ? streamer.fail(error) : streamer?.end(), END_GRACE);
  } catch {
    // The streamer may be what failed.
  }
}

const METHODS = { decode, beam_search: beamSearch, prompt_lookup: promptLookup };

function modeOf(config: ResolvedConfig): keyof typeof METHODS {
  if (config.num_beams > 1) {
    if (config.prompt_lookup_num_tokens != null) {
      warnOnce(
        "You've set `prompt_lookup_num_tokens`, which triggers assisted generate. Currently, " +
          'assisted generate is only supported with Greedy Search and Sample. However, the base ' +
          `decoding mode (based on current flags) is ${config.do_sample ? 'beam_sample' : 'beam_search'} ` +
          '-- some of the set flags will be ignored.',
      );
    }
    return 'beam_search';
  }
  if (config.prompt_lookup_num_tokens == null) return 'decode';
  if (config.num_return_sequences > 1) {
    throw new InvalidArgumentError(
      'num_return_sequences has to be 1 when doing assisted generate, but is ' +
        `${config.num_return_sequences}.`,
      { subject: 'num_return_sequences' },
    );
  }
  return 'prompt_lookup';
}

function checkLogprobs(k: number | null): number | null {
  if (k !== null && (!Number.isInteger(k) || k < 0)) {
    throw invalidArgument('output_logprobs', 'an integer >= 0', k);
  }
  checkLargest('output_logprobs', k ?? 0, MAX_LOGPROBS);
  return k;
}

/** Refuses what the rows, the vocabulary and the prompts make too large together. */
function checkBatch(inputs: PreparedInputs, config: ResolvedConfig, vocab_size: number): void {
  const subject = config.num_beams > 1 ? 'num_beams' : 'num_return_sequences';
  const rows = inputs.rows.length * rowsOf(config);
  checkLimit(subject, rows, MAX_ROWS, 'rows');
  checkLimit(subject, rows * inputs.length, MAX_PROMPT_TOKENS, 'prompt tokens in all rows');
  const positions = rows * (1 + (config.prompt_lookup_num_tokens ?? 0));
  checkLimit(subject, positions * vocab_size, MAX_STEP_SCORES, 'scores in a step');
}

/** `performance.now()` at which the call's time is over. */
function deadlineOf(criteria: StoppingCriteriaList): number {
  let deadline = Number.POSITIVE_INFINITY;
  for (const c of criteria) {
    if (!(c instanceof MaxTimeCriteria) || c.constructor !== MaxTimeCriteria) continue;
    const left = (c.initial_timestamp + c.max_time) * 1000 - Date.now();
    deadline = Math.min(deadline, performance.now() + left);
  }
  return deadline;
}

/** Rows each prompt has while decoding. */
function rowsOf(config: ResolvedConfig): number {
  return Math.max(config.num_beams, config.num_return_sequences);
}

function repeat<T>(values: readonly T[], times: number): T[] {
  return values.flatMap((value) => new Array<T>(times).fill(value));
}

/** The built-in criteria in transformers' order, and the caller's. */
function criteriaOf(
  config: ResolvedConfig,
  options: GenerateOptions,
  max_position_embeddings: number | null,
): StoppingCriteriaList {
  const list: StoppingCriteriaLike[] = [
    new MaxLengthCriteria(config.max_length, max_position_embeddings),
  ];
  if (config.max_time != null) list.push(new MaxTimeCriteria(config.max_time));
  if (config.stop_strings != null) {
    if (options.tokenizer == null) {
      throw new InvalidArgumentError(
        'There are one or more stop strings, either in the arguments to `generate` or in the ' +
          "model's generation config, but we could not locate a tokenizer. When generating with " +
          "stop strings, you must pass the model's tokenizer to the `tokenizer` argument of " +
          '`generate`.',
        { subject: 'tokenizer' },
      );
    }
    list.push(new StopStringCriteria(options.tokenizer, config.stop_strings));
  }
  if (config.eos !== null) list.push(new EosTokenCriteria(config.eos));
  const custom = toStoppingCriteriaList(options.stopping_criteria).items;
  return new StoppingCriteriaList(mergeWithCustom(list, custom, 'stopping criteria'));
}

/** Refuses prompts the cache cannot hold; warns where it will end an answer early. */
function checkRoom(inputs: PreparedInputs, config: ResolvedConfig, capacity: number): void {
  const longest = inputs.prompts.reduce((most, { length }) => Math.max(most, length), 0);
  if (longest > capacity) {
    throw new InvalidArgumentError('The prompt is longer than the cache can hold', {
      subject: 'input_ids',
      expected: `at most ${capacity} tokens`,
      found: longest,
    });
  }
  if (longest + (config.max_length - inputs.length) - 1 > capacity) {
    warnOnce(
      `The cache holds ${capacity} tokens: an answer that would need more ends there, before ` +
        '`max_length` or `max_new_tokens` is reached.',
    );
  }
}

/** The unconditional prompts of guidance: as given, or each prompt's last token. */
function guidancePrompts(
  options: GenerateOptions,
  model: GenerationModel,
  inputs: PreparedInputs,
): number[][] {
  if (options.negative_prompt_ids == null) return inputs.prompts.map((prompt) => prompt.slice(-1));
  const { prompts } = prepareInputs(
    options.negative_prompt_ids,
    options.negative_prompt_attention_mask ?? null,
    { vocab_size: model.config.vocab_size, bos: null, eos: null, pad_token_id: null },
  );
  if (prompts.length !== 1 && prompts.length !== inputs.prompts.length) {
    throw invalidArgument(
      'negative_prompt_ids',
      `1 row or ${inputs.prompts.length} rows`,
      prompts.length,
    );
  }
  return inputs.prompts.map((_, r) => prompts[prompts.length === 1 ? 0 : r] as number[]);
}
