import { checkOptions } from '../check-options.js';
import { openCheckpoint } from '../checkpoint/open.js';
import { FileNotFoundError, InvalidArgumentError, invalidArgument } from '../errors.js';
import { GenerationConfig } from '../generation/configuration.js';
import { type HubOptions, type ProgressCallback, resolveModelDir } from '../hub/index.js';
import type { ComputeDType } from '../native/addon.js';
import { Engine } from '../native/engine.js';
import { MODEL_RULES } from '../pretrained-options.js';
import { autoDType, nativeConfig, parseDType, weightSources } from './architecture.js';
import { PretrainedConfig } from './config.js';
import { type DeviceMap, devicesFor, type MaxMemory, resolveDeviceMap } from './device-map.js';
import { requireMemory } from './memory.js';
import { PreTrainedModel } from './model.js';

/** dtype as users may write it; 'auto' is what the checkpoint stores (float16 for float32 on CUDA). */
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

function threadCount(option: number | undefined): number {
  const value = option ?? Number(process.env.KOMT_NUM_THREADS ?? 0);
  if (!Number.isInteger(value) || value < 0 || value > 1024) {
    throw new InvalidArgumentError(
      `Expected an integer between 0 and 1024 for ${option === undefined ? 'KOMT_NUM_THREADS' : 'num_threads'} but received ${value}`,
    );
  }
  return value;
}

function cacheTokens(option: number | undefined): number {
  if (option !== undefined && (!Number.isInteger(option) || option < 1 || option > 2 ** 30)) {
    throw invalidArgument('cache_tokens', 'a positive integer', option);
  }
  return option ?? 0;
}

function chosenDType(options: ModelOptions): ComputeDType | 'auto' {
  const name = options.dtype ?? options.torch_dtype ?? 'auto';
  if (name === 'auto') return 'auto';
  const dtype = typeof name === 'string' ? parseDType(name) : undefined;
  if (dtype) return dtype;
  throw new InvalidArgumentError(`Unknown dtype ${String(name)}`, {
    subject: 'dtype',
    expected: 'auto, float32, float16, bfloat16 (or fp32, fp16, bf16)',
  });
}

/** Reports bytes read as HF's progress events, one "file" being the whole set of weights. */
function weightProgress(name: string, callback: ProgressCallback) {
  const file = 'weights';
  let started = false;
  return (loaded: number, total: number) => {
    if (!started) callback({ status: 'initiate', name, file, loaded: 0, total, progress: 0 });
    started = true;
    const progress = total === 0 ? 100 : (100 * loaded) / total;
    callback({ status: 'progress', name, file, loaded, total, progress });
    if (loaded === total) callback({ status: 'done', name, file, loaded, total, progress: 100 });
  };
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
    const { progress_callback, signal } = options;
    const requested = chosenDType(options);
    const threads = threadCount(options.num_threads);
    if (options.config != null && !(options.config instanceof PretrainedConfig)) {
      throw invalidArgument('config', 'a PretrainedConfig, as AutoConfig loads it', options.config);
    }
    const folder = await resolveModelDir(pretrained_model_name_or_path, options);
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
      config: nativeConfig(config, dtype, cacheTokens(options.cache_tokens)),
      sources,
      placement,
      threads,
      onProgress: progress_callback
        ? weightProgress(pretrained_model_name_or_path, progress_callback)
        : undefined,
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
}
