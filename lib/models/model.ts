import { setMaxListeners } from 'node:events';
import type { EngineSession } from '../engine.js';
import { InvalidArgumentError } from '../errors.js';
import { Callable } from '../generation/callable.js';
import type { GenerationConfig } from '../generation/configuration.js';
import {
  type GenerateDictOptions,
  type GenerateTensorOptions,
  generate,
} from '../generation/generate.js';
import type { GenerationModel } from '../generation/model.js';
import type { GenerateOptions } from '../generation/options.js';
import { compute_transition_scores, type GenerateOutput } from '../generation/output.js';
import {
  type ForwardOptions,
  type ForwardOutput,
  forward,
  type Loglikelihood,
  type LoglikelihoodRequest,
  loglikelihood,
} from '../generation/scoring.js';
import { type StreamOptions, stream } from '../generation/stream.js';
import type { ComputeDType, NativePlacement } from '../native/addon.js';
import type { Engine } from '../native/engine.js';
import { Tensor, type TokenIds } from '../tensor.js';
import type { PreTrainedTokenizer } from '../tokenizers/index.js';
import type { PretrainedConfig } from './config.js';
import { moduleMap } from './device-map.js';

/** What a loader hands to {@link PreTrainedModel}. */
export interface PreTrainedModelInit {
  config: PretrainedConfig;
  generation_config: GenerationConfig;
  engine: Engine;
  dtype: ComputeDType;
  placement: NativePlacement[];
  /** Local folder the model came from. */
  name_or_path: string;
}

export interface PreTrainedModel {
  /** As {@link PreTrainedModel.forward}. */
  // biome-ignore lint/style/useShorthandFunctionType: merges with the class
  (inputs: ForwardOptions | TokenIds): Promise<ForwardOutput>;
}

/**
 * A loaded causal language model; {@link AutoModelForCausalLM.from_pretrained} makes one.
 *
 * It owns native memory: `dispose()` (or `await using`) gives it back at once, the garbage collector
 * some time. Any number of calls may run at the same time; they share the device step by step.
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: Callable gives instances this call signature
export class PreTrainedModel extends Callable implements GenerationModel {
  readonly config: PretrainedConfig;
  /** Defaults of {@link generate}; may be changed. */
  generation_config: GenerationConfig;
  /** Type of the matrices. */
  readonly dtype: ComputeDType;
  /**
   * Where each module is, as transformers has it: `{ '': device }` on one device, else the embedding,
   * every layer, norm and lm_head by name.
   */
  readonly hf_device_map: Readonly<Record<string, string>>;
  readonly name_or_path: string;
  readonly #engine: Engine;
  readonly #disposal = new AbortController();

  constructor(init: PreTrainedModelInit) {
    super();
    this.config = init.config;
    this.generation_config = init.generation_config;
    this.dtype = init.dtype;
    this.hf_device_map = moduleMap(init.placement);
    this.name_or_path = init.name_or_path;
    this.#engine = init.engine;
    // Every call that runs listens.
    setMaxListeners(0, this.#disposal.signal);
  }

  /** Device of the first layer, such as 'cpu' or 'cuda:0'. */
  get device(): string {
    return Object.values(this.hf_device_map)[0] as string;
  }

  /** For code ported from PyTorch: models here are always in evaluation mode. */
  eval(): this {
    return this;
  }

  /**
   * For code ported from PyTorch: a loaded model stays where it is.
   * @throws {InvalidArgumentError} unless the model is on that device already
   */
  to(device: string): this {
    const kind = this.device.split(':')[0];
    if (device === this.device || device === kind) return this;
    throw new InvalidArgumentError('A loaded model cannot be moved or converted', {
      subject: 'to',
      expected: this.device,
      found: device,
      remedy: 'Choose when it is loaded: from_pretrained(name, { device_map, dtype }).',
    });
  }

  /**
   * Generates from prompts as transformers' `generate` does; docs/generation.md has every option.
   * @returns int64 [prompts * num_return_sequences, length], or an object whose `sequences` is that
   *   tensor with `return_dict_in_generate` or `output_logprobs`
   * @throws {InvalidArgumentError} for options that cannot be meant, {AbortError}, {OutOfMemoryError},
   *   {DisposedError}, and whatever a streamer, processor or criterion throws
   */
  generate(options: GenerateDictOptions): Promise<GenerateOutput>;
  generate(options?: GenerateTensorOptions): Promise<Tensor>;
  generate(options: GenerateOptions): Promise<Tensor | GenerateOutput>;
  async generate(
    options: GenerateOptions = {},
    ...more: unknown[]
  ): Promise<Tensor | GenerateOutput> {
    if (more.length > 0) {
      throw new InvalidArgumentError('generate takes one object of options', {
        found: `${more.length + 1} arguments`,
        remedy: 'Write generate({ ...inputs, ...options }).',
      });
    }
    return generate(this, options);
  }

  /**
   * Generates from one prompt and gives the answer as it comes: text where `tokenizer` is given, else
   * token ids. Leaving the loop ends the generation.
   * @example for await (const piece of model.stream({ ...tokenizer(prompt), tokenizer })) write(piece);
   */
  stream(options: StreamOptions & { tokenizer: PreTrainedTokenizer }): AsyncGenerator<string>;
  stream(options?: StreamOptions & { tokenizer?: null }): AsyncGenerator<number>;
  stream(options: StreamOptions = {}): AsyncGenerator<string> | AsyncGenerator<number> {
    return stream(this, options as StreamOptions & { tokenizer: PreTrainedTokenizer });
  }

  /**
   * One pass over whole texts; what calling the model runs.
   * @param inputs what a tokenizer gives, or ids alone
   * @returns logits, float32 [batch, length, vocab_size]; with `output_hidden_states` also the last
   *   hidden state
   */
  async forward(inputs: ForwardOptions | TokenIds): Promise<ForwardOutput> {
    const isIds = Array.isArray(inputs) || inputs instanceof Tensor;
    return forward(this, isIds ? { input_ids: inputs as TokenIds } : (inputs as ForwardOptions));
  }

  _call(inputs: ForwardOptions | TokenIds): Promise<ForwardOutput> {
    return this.forward(inputs);
  }

  /**
   * The scores of generated tokens; see {@link compute_transition_scores}.
   * @param normalize_logits turn each step's scores into log-probabilities first
   */
  compute_transition_scores(
    sequences: Tensor,
    scores: readonly Tensor[],
    beam_indices: Tensor | null = null,
    normalize_logits = false,
  ): Tensor {
    return compute_transition_scores(sequences, scores, beam_indices, normalize_logits);
  }

  /**
   * How probable continuations are after their contexts, as evaluation harnesses ask.
   * @returns natural log-probabilities, summed, and whether greedy decoding would say the same
   */
  loglikelihood(
    requests: readonly LoglikelihoodRequest[],
    options: { signal?: AbortSignal | null } = {},
  ): Promise<Loglikelihood[]> {
    return loglikelihood(this, requests, options);
  }

  /**
   * A session of its own, for code that drives the engine itself; dispose it when done.
   * @throws {DisposedError}
   */
  openSession(): EngineSession {
    return this.#engine.openSession();
  }

  /** @internal */
  get disposal(): AbortSignal {
    return this.#disposal.signal;
  }

  get disposed(): boolean {
    return this.#engine.disposed;
  }

  /** Ends running calls with DisposedError; resolves when all memory is given back. May be called again. */
  dispose(): Promise<void> {
    this.#disposal.abort();
    return this.#engine.dispose();
  }

  [Symbol.dispose](): void {
    void this.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
