import { invalidArgument, OutOfMemoryError } from '../errors.js';
import { formatBytes } from '../format-bytes.js';
import type { ComputeDType, DeviceInfo, NativePlacement } from '../native/addon.js';
import { expectedShape, wantedTensors } from './architecture.js';
import { PretrainedConfig } from './config.js';

const BYTES: Record<ComputeDType, number> = { float32: 4, float16: 2, bfloat16: 2 };

/** What a model takes on one device, in bytes, known before anything is loaded. */
export interface MemoryEstimate {
  /** Number of parameters (tied embeddings count once). */
  parameters: number;
  /** Matrices in the compute type; norms and biases in float32. */
  weightBytes: number;
  /** Key/value cache per token of one sequence. */
  cacheBytesPerToken: number;
}

/**
 * @param dtype of the matrices
 * @param cacheDType float32 on the CPU whatever the weights are, the compute type on CUDA
 * @throws InvalidArgumentError
 */
export function estimateMemory(
  config: PretrainedConfig,
  dtype: ComputeDType,
  cacheDType: ComputeDType,
): MemoryEstimate {
  if (!(config instanceof PretrainedConfig)) {
    throw invalidArgument('config', 'a PretrainedConfig, as AutoConfig loads it', config);
  }
  const types = Object.keys(BYTES);
  for (const [name, type] of Object.entries({ dtype, cacheDType })) {
    if (!types.includes(type)) throw invalidArgument(name, `one of ${types.join(', ')}`, type);
  }
  let parameters = 0;
  let weightBytes = 0;
  for (const { slot } of wantedTensors(config)) {
    const shape = expectedShape(config, slot);
    const size = shape.reduce((a, b) => a * b, 1);
    parameters += size;
    weightBytes += size * (shape.length === 2 ? BYTES[dtype] : 4);
  }
  const cacheBytesPerToken =
    2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * BYTES[cacheDType];
  return { parameters, weightBytes, cacheBytesPerToken };
}

/** Weight bytes of a model's parts, by where they have to lie. */
export interface LayerMemory {
  layers: readonly number[];
  /** With the first layer: the embedding. */
  first: number;
  /** With the last one: norm and lm_head. */
  last: number;
  /** With the last one too, where the first is on another device: the embedding that is the lm_head. */
  tied: number;
}

export function layerMemory(config: PretrainedConfig, dtype: ComputeDType): LayerMemory {
  const layers = new Array<number>(config.num_hidden_layers).fill(0);
  const memory = { layers, first: 0, last: 0, tied: 0 };
  for (const { slot, layer, name } of wantedTensors(config)) {
    const shape = expectedShape(config, slot);
    const bytes = shape.reduce((a, b) => a * b, 1) * (shape.length === 2 ? BYTES[dtype] : 4);
    if (slot === 'embed_tokens') memory.first += bytes;
    else if (!name.includes('.layers.')) memory.last += bytes;
    else layers[layer] = (layers[layer] as number) + bytes;
  }
  if (config.tie_word_embeddings) memory.tied = memory.first;
  return memory;
}

/**
 * Refuses a model before anything is read that the engine would refuse only after minutes of reading.
 * @throws {OutOfMemoryError} naming the first device whose free memory is less than its weights
 */
export function requireMemory(
  config: PretrainedConfig,
  dtype: ComputeDType,
  placement: readonly NativePlacement[],
  devices: readonly DeviceInfo[],
): void {
  const { layers, first, last, tied } = layerMemory(config, dtype);
  let layer = 0;
  for (const run of placement) {
    const end = layer + run.layers;
    let bytesNeeded = layers.slice(layer, end).reduce((a, b) => a + b, 0);
    if (layer === 0) bytesNeeded += first;
    if (end === layers.length) bytesNeeded += last + (layer === 0 ? 0 : tied);
    layer = end;
    const bytesFree = devices.find((device) => device.name === run.device)?.memoryFree;
    if (bytesFree === undefined || bytesNeeded <= bytesFree) continue;
    throw new OutOfMemoryError(`The model does not fit on ${run.device}`, {
      subject: 'device_map',
      expected: `${formatBytes(bytesNeeded)} free for the weights in ${dtype}`,
      found: formatBytes(bytesFree),
      bytesNeeded,
      bytesFree,
      remedy:
        dtype === 'float32'
          ? `dtype: 'float16' needs ${formatBytes(bytesNeeded / 2)}.`
          : 'Use a device with more memory, or a smaller model.',
    });
  }
}
