import { invalidArgument } from '../errors.js';
import { guard } from '../native/errors.js';
import type { NativeRopeTarget } from '../native/kernels.js';
import { dim, outputTensor, requireInteger, requireOptions, requireTensor } from './checks.js';
import type { Device } from './device.js';
import type { DeviceTensor } from './device-tensor.js';
import { KvCache } from './kv-cache.js';

/**
 * Where rotated queries, rotated keys and values of new tokens go. Indices lie in device memory and are
 * not checked: one beyond its table or cache is an illegal access, which costs the GPU its context.
 */
export interface RopeTarget {
  /** Keys and values are appended here, at `positions`. */
  cache: KvCache;
  /** Number of query heads; a multiple of the cache's key/value heads. */
  num_attention_heads: number;
  /** float32 [table rows, head_dim / 2], attention scaling folded in. */
  cos: DeviceTensor;
  /** float32 [table rows, head_dim / 2]. */
  sin: DeviceTensor;
  /** int32 [tokens]: row of the tables for each token. Default: `positions`. */
  rope_rows?: DeviceTensor;
  /** int32 [tokens]: index in the sequence's cache. */
  positions: DeviceTensor;
  /** int32 [tokens]: row of the block table. */
  sequence_ids: DeviceTensor;
  /** int32 [sequences, pages of a sequence]. */
  block_table: DeviceTensor;
}

export interface RopeOptions extends RopeTarget {
  /** [tokens, num_attention_heads * head_dim] of the cache's type. Default: a new tensor. */
  output?: DeviceTensor;
}

/** @internal Checks a target for `tokens` tokens and carries it across. */
export function nativeRopeTarget(
  target: RopeTarget,
  tokens: number,
  device: Device,
): NativeRopeTarget {
  const { cache, cos, sin, positions, sequence_ids, block_table } = target;
  if (!(cache instanceof KvCache)) throw invalidArgument('cache', 'a KvCache', cache);
  requireTensor('cache.keys', cache.keys, [cache.dtype], cache.keys.dims, device);
  const heads = requireInteger('num_attention_heads', target.num_attention_heads, 1, 65535);
  if (heads % cache.num_key_value_heads !== 0) {
    const expected = `a multiple of the cache's ${cache.num_key_value_heads} key/value heads`;
    throw invalidArgument('num_attention_heads', expected, heads);
  }
  const half = cache.head_dim / 2;
  requireTensor('cos', cos, ['float32'], ['table rows', half], device);
  requireTensor('sin', sin, ['float32'], [dim(cos, 0), half], device);
  requireTensor('positions', positions, ['int32'], [tokens], device);
  const rope_rows = target.rope_rows ?? positions;
  requireTensor('rope_rows', rope_rows, ['int32'], [tokens], device);
  requireTensor('sequence_ids', sequence_ids, ['int32'], [tokens], device);
  requireTensor('block_table', block_table, ['int32'], ['sequences', 'pages'], device);
  return {
    positions: positions.handle,
    ropeRows: rope_rows.handle,
    sequenceIds: sequence_ids.handle,
    blockTable: block_table.handle,
    blockTableStride: dim(block_table, 1),
    cos: cos.handle,
    sin: sin.handle,
    keys: cache.keys.handle,
    values: cache.values.handle,
    numHeads: heads,
    numKvHeads: cache.num_key_value_heads,
    headDim: cache.head_dim,
  };
}

/**
 * Rotary position embedding of queries and keys, and the append of keys and values to the cache. Pairs
 * are half-split as in Hugging Face's Llama: (x[d], x[d + D/2]) -> (x[d] c - x[d + D/2] s,
 * x[d + D/2] c + x[d] s); computed in float32, rounded once.
 * @param qkv [tokens, (num_attention_heads + 2 num_key_value_heads) * head_dim], heads of q, k, v one
 *   after the other; float32 or the cache's type
 * @returns the rotated queries, [tokens, num_attention_heads * head_dim] of the cache's type
 */
export function rope(qkv: DeviceTensor, options: RopeOptions): DeviceTensor {
  const { cache } = requireOptions(options);
  if (!(cache instanceof KvCache)) throw invalidArgument('cache', 'a KvCache', cache);
  const heads = requireInteger('num_attention_heads', options.num_attention_heads, 1, 65535);
  const width = (heads + 2 * cache.num_key_value_heads) * cache.head_dim;
  requireTensor('qkv', qkv, [cache.dtype, 'float32'], ['tokens', width]);
  const { device } = qkv;
  const tokens = dim(qkv, 0);
  const target = nativeRopeTarget(options, tokens, device);
  const output = outputTensor(
    options.output,
    cache.dtype,
    [tokens, heads * cache.head_dim],
    device,
  );
  guard(() =>
    device.kernels.ropeAppend(device.handle, {
      ...target,
      qkv: qkv.handle,
      query: output.handle,
      numTokens: tokens,
    }),
  );
  return output;
}
