import { follow } from '../abort.js';
import { checkOptions } from '../check-options.js';
import { openCheckpoint } from '../checkpoint/open.js';
import { FileNotFoundError, InvalidArgumentError, invalidArgument, show } from '../errors.js';
import { GenerationConfig } from '../generation/configuration.js';
import { isThenable } from '../generation/user-code.js';
import { type HubOptions, type ProgressCallback, resolveModelDir } from '../hub/index.js';
import type { ComputeDType } from '../native/addon.js';
import { Engine } from '../native/engine.js';
import { MODEL_RULES } from '../pretrained-options.js';
import { autoDType, nativeConfig, parseDType, weightSources } from './architecture.js';
import { PretrainedConfig } from './config.js';
import { type DeviceMap, devicesFor, type MaxMemory, resolveDeviceMap } from './device-map.js';
import { requireMemory } from './memory.js';
import { PreTrainedModel } from './model.js';

/** dtype as users may write it; 'auto' is config.json's, else what is stored (float16 for float32 on CUDA). */
export type DTypeOption = 'auto' | ComputeDType | 'fp32' | 'fp16' | 'bf16';

/** Options of {@link AutoModelForCausalLM.from_pretrained}. */
export interface ModelOptions extends Omit<HubOptions, 'patterns'> {
  /** Where the layers go. Default 'auto': the first GPU, else the CPU. */
  device_map?: DeviceMap;
  /** Most memory to use per device when layers are placed automatically. */
  max_memory?: MaxMemory;
  /** Type of the matrices. Default 'auto'. Accumulation is float32 in any case. */
  dtype?: DTypeOption;
  /** The name `dtype` had in transformers 4. */
  torch_dtype?: DTypeOption;
  /** A configuration to use instead of the folder's config.json. */
  config?: PretrainedConfig;
  /** CPU threads of this model; 0 = one per core this process may use. Default: KOMT_NUM_THREADS, else 0. */
  num_threads?: number;
  /**
   * Tokens of all sequences together that the key/value cache of a GPU holds. Default: four of the
   * model's longest sequences, as far as memory goes. On the CPU the cache grows by itself.
   */
  cache_tokens?: number;
  /** HF's switch for the safetensors format: true demands it, false prefers pytorch_model.bin. */
  use_safetensors?: boolean;
}

function threadCount(option: number | null | undefined): number {
  const value = option ?? Number(process.env.KOMT_NUM_THREADS ?? 0);
  if (!Number.isInteger(value) || value < 0 || value > 1024) {
    throw new InvalidArgumentError(
      `Expected an integer between 0 and 1024 for ${option == null ? 'KOMT_NUM_THREADS' : 'num_threads'} but received ${show(value)}`,
    );
  }
  return value;
}

function cacheTokens(option: number | null | undefined): number {
  if (option != null && (!Number.isInteger(option) || option < 1 || option > 2 ** 30)) {
    throw invalidArgument('cache_tokens', 'a positive integer', option);
  }
  return option ?? 0;
}

function chosenDType(options: ModelOptions): ComputeDType | 'auto' {
  const name = options.dtype ?? options.torch_dtype ?? 'auto';
  if (name === 'auto') return 'auto';
  const dtype = typeof name === 'string' ? parseDType(name) : undefined;
  if (dtype) return dtype;
  throw new InvalidArgumentError(`Unknown dtype ${show(name)}`, {
    subject: 'dtype',
    expected: 'auto, float32, float16, bfloat16 (or fp32, fp16, bf16)',
  });
}

/**
 * The caller's callback, in a form that never throws: what it throws, or rejects with, ends the load,
 * whoever calls it from wherever.
 */
class Progress {
  readonly callback: ProgressCallback;
  readonly #failed: (failure: { error: unknown }) => void;

  constructor(given: ProgressCallback, failed: (failure: { error: unknown }) => void) {
    if (typeof given !== 'function')
      throw invalidArgument('progress_callback', 'a function', given);
    this.#failed = failed;
    this.callback = (info) => {
      try {
        const answer: unknown = given(info);
        if (isThenable(answer)) answer.then(undefined, this.#fail);
      } catch (error) {
        this.#fail(error);
      }
    };
  }

  readonly #fail = (error: unknown): void => this.#failed({ error });

  /** Reports bytes read as HF's progress events, one "file" being the whole set of weights. */
  weights(name: string): (loaded: number, total: number) => void {
    const { callback } = this;
    const file = 'weights';
    let started = false;
    return (loaded, total) => {
      if (!started) callback({ status: 'initiate', name, file, loaded: 0, total, progress: 0 });
      started = true;
      const progress = total === 0 ? 100 : (100 * loaded) / total;
      callback({ status: 'progress', name, file, loaded, total, progress });
      if (loaded === total) callback({ status: 'done', name, file, loaded, total, progress: 100 });
    };
  }
}

/** generation_config.json, or where there is none what config.json says of generation. */
async function defaultGeneration(
  folder: string,
  config: PretrainedConfig,
): Promise<GenerationConfig> {
  try {
    return await GenerationConfig.from_pretrained(folder);
  } catch (error) {
    if (!(error instanceof FileNotFoundError)) throw error;
    return GenerationConfig.from_model_config(config.raw);
  }
}

/** Loads causal language models, as transformers' class of this name. */
export class AutoModelForCausalLM {
  /**
   * Loads a Llama-family model from a local folder or the Hub.
   *
   * @param pretrained_model_name_or_path folder with config.json and weights, or a Hub id
   * @throws {InvalidArgumentError} for an option that does not exist or cannot be meant,
   *   {UnsupportedModelError} for another architecture, {CheckpointError} for files that are damaged
   *   or do not fit, {DeviceError}, {OutOfMemoryError}, {HubError}, {AbortError}; nothing stays allocated
   */
  static async from_pretrained(
    pretrained_model_name_or_path: string,
    options: ModelOptions = {},
  ): Promise<PreTrainedModel> {
    checkOptions('AutoModelForCausalLM.from_pretrained', options, MODEL_RULES);
    const ended = new AbortController();
    const unfollow = follow(options.signal, ended);
    let failure: { error: unknown } | null = null;
    try {
      const progress =
        options.progress_callback == null
          ? null
          : new Progress(options.progress_callback, (first) => {
              failure ??= first;
              ended.abort();
            });
      const model = await load(
        pretrained_model_name_or_path,
        { ...options },
        progress,
        ended.signal,
      );
      if (failure === null) return model;
      await model.dispose();
    } catch (error) {
      failure ??= { error };
    } finally {
      unfollow();
    }
    throw (failure as { error: unknown }).error;
  }
}

async function load(
  name: string,
  given: ModelOptions,
  progress: Progress | null,
  signal: AbortSignal,
): Promise<PreTrainedModel> {
  const options = { ...given, signal, progress_callback: progress?.callback };
  const requested = chosenDType(options);
  const threads = threadCount(options.num_threads);
  const cache_tokens = cacheTokens(options.cache_tokens);
  if (options.config != null && !(options.config instanceof PretrainedConfig)) {
    throw invalidArgument('config', 'a PretrainedConfig, as AutoConfig loads it', options.config);
  }
  const folder = await resolveModelDir(name, options);
  const config = options.config ?? (await PretrainedConfig.from_folder(folder, signal));
  const checkpoint = await openCheckpoint(folder, {
    prefer: options.use_safetensors === false ? 'pytorch' : 'safetensors',
    signal,
  });
  if (options.use_safetensors === true && checkpoint.format !== 'safetensors') {
    throw new InvalidArgumentError('use_safetensors is true, but there is no safetensors file', {
      file: folder,
      found: checkpoint.files,
    });
  }
  // Where the layers go depends on their size, and 'auto' on whether a GPU is among the places.
  const onCuda = requested === 'auto' ? autoDType(checkpoint, config, true) : requested;
  const { device_map, max_memory } = options;
  const placement = resolveDeviceMap({ device_map, max_memory, config, dtype: onCuda });
  const cuda = placement.some((p) => p.device.startsWith('cuda'));
  if (cuda && onCuda === 'float32') {
    throw new InvalidArgumentError('CUDA computes in float16 or bfloat16, not in float32', {
      subject: 'dtype',
      remedy: 'Pass dtype: "float16" or "bfloat16" (or "auto"), or device_map: "cpu".',
    });
  }
  const dtype = requested === 'auto' ? autoDType(checkpoint, config, cuda) : requested;
  const generation_config = await defaultGeneration(folder, config);
  const sources = weightSources(config, checkpoint);
  requireMemory(config, dtype, placement, devicesFor(placement[0]?.device ?? 'cpu'));
  const engine = await Engine.load({
    config: nativeConfig(config, dtype, cache_tokens),
    sources,
    placement,
    threads,
    onProgress: progress?.weights(name),
    signal,
  });
  return new PreTrainedModel({
    config,
    generation_config,
    engine,
    dtype,
    placement,
    name_or_path: folder,
  });
}
