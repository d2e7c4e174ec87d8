import { type DeviceInfo, estimateMemory, type PretrainedConfig, parseDType } from 'komt';
import { formatBytes } from '../format-bytes.js';
import type { LoadFlags } from './options.js';
import { table } from './table.js';

function count(n: number): string {
  return n >= 1e9 ? `${(n / 1e9).toFixed(2)} G` : `${(n / 1e6).toFixed(1)} M`;
}

/** What a model needs, and whether a device has it. */
export interface ModelNeeds {
  model_type: string;
  parameters: number;
  devices: {
    name: string;
    dtype: string;
    weightBytes: number;
    cacheDtype: string;
    cacheBytesPerToken: number;
    /** Tokens of one sequence that the rest of the memory holds; below 0 where the weights do not fit. */
    contextTokens: number;
  }[];
}

export function modelNeeds(
  config: PretrainedConfig,
  devices: readonly DeviceInfo[],
  flags: LoadFlags,
): ModelNeeds {
  const dtype =
    (flags.dtype === 'auto' ? undefined : parseDType(flags.dtype)) ??
    parseDType(config.dtype ?? 'float32') ??
    'float32';
  return {
    model_type: config.model_type,
    parameters: estimateMemory(config, dtype, dtype).parameters,
    devices: devices.map((device) => {
      const cuda = device.name.startsWith('cuda');
      const compute = cuda && dtype === 'float32' ? 'float16' : dtype;
      const cache = cuda ? compute : 'float32';
      const { weightBytes, cacheBytesPerToken } = estimateMemory(config, compute, cache);
      return {
        name: device.name,
        dtype: compute,
        weightBytes,
        cacheDtype: cache,
        cacheBytesPerToken,
        contextTokens: Math.floor((device.memoryFree - weightBytes) / cacheBytesPerToken),
      };
    }),
  };
}

export function showModel(
  config: PretrainedConfig,
  needs: ModelNeeds,
  devices: readonly DeviceInfo[],
): void {
  const heads =
    config.num_key_value_heads === config.num_attention_heads
      ? `${config.num_attention_heads} heads`
      : `${config.num_attention_heads} heads over ${config.num_key_value_heads}`;
  console.log('');
  table([
    [
      'model',
      `${config.model_type}, ${config.num_hidden_layers} layers of ${config.hidden_size}, ${heads} of ${config.head_dim}`,
    ],
    ['vocabulary', `${config.vocab_size} ids`],
    ['context', `${config.max_position_embeddings} tokens, rope ${config.rope.rope_type}`],
    ['parameters', count(needs.parameters)],
  ]);
  needs.devices.forEach((need, i) => {
    const { dtype, weightBytes, cacheDtype, cacheBytesPerToken, contextTokens } = need;
    const missing = weightBytes - (devices[i]?.memoryFree ?? 0);
    const half = dtype === 'float32' ? '; --dtype float16 halves the weights' : '';
    const fits =
      contextTokens > 0
        ? `fits; room for ${Math.min(contextTokens, config.max_position_embeddings)} tokens of one sequence`
        : `does not fit: ${formatBytes(missing)} too much${half}`;
    console.log(
      `\non ${need.name} in ${dtype}: weights ${formatBytes(weightBytes)}, cache ${formatBytes(cacheBytesPerToken * 1024)} per 1,024 tokens (${cacheDtype})\n  ${fits}`,
    );
  });
}
