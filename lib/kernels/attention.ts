import { invalidArgument } from '../errors.js';
import { guard } from '../native/errors.js';
import { dim, outputTensor, requireInteger, requireNumber, requireTensor } from './checks.js';
import type { DeviceTensor } from './device-tensor.js';
import { KvCache, PAGE_TOKENS } from './kv-cache.js';

/** A ragged batch: the new tokens of all sequences one behind the other, and where their caches are. */
export interface AttentionOptions {
  /** int32 [sequences + 1]: first new token of each sequence, and the number of all. */
  cu_seqlens: DeviceTensor;
  /** int32 [sequences]: cache length of each sequence, new tokens included; these are its last ones. */
  kv_lengths: DeviceTensor;
  /** int32 [sequences, pages of a sequence]. */
  block_table: DeviceTensor;
  /** Most new tokens of one sequence. */
  max_new_tokens: number;
  /** A bound on `kv_lengths`. Default: what the block table's rows hold. */
  max_kv_length?: number;
  /** Of the scores. Default 1 / sqrt(head_dim). */
  scale?: number;
  /** A token sees itself and `sliding_window - 1` before it. Default: all. */
  sliding_window?: number;
  /** Like the query. Default: a new tensor. */
  output?: DeviceTensor;
}

/**
 * Causal attention over the paged cache, which holds the new tokens' keys and values already (see
 * `rope`). Sequences with one new token go through the split-cache decode kernel, others through the
 * prefill kernel, in one batch too. A query's result does not depend on the batch, to the bit.
 *
 * Lengths and page numbers lie in device memory and are not checked: one beyond the cache is an illegal
 * access, which costs the GPU its context.
 * @param query [tokens, num_attention_heads * head_dim] of the cache's type
 * @returns the same shape
 */
export function attention(
  query: DeviceTensor,
  cache: KvCache,
  options: AttentionOptions,
): DeviceTensor {
  if (!(cache instanceof KvCache)) throw invalidArgument('cache', 'a KvCache', cache);
  requireTensor('query', query, [cache.dtype], ['tokens', 'num_attention_heads * head_dim']);
  const { device } = query;
  requireTensor('cache.keys', cache.keys, [cache.dtype], cache.keys.dims, device);
  const { head_dim, num_key_value_heads: kvHeads } = cache;
  const heads = dim(query, 1) / head_dim;
  if (heads < 1 || heads % kvHeads !== 0) {
    const expected = `rows of a multiple of ${kvHeads} heads of ${head_dim}`;
    throw invalidArgument('query', expected, `${query}`);
  }
  const { cu_seqlens, kv_lengths, block_table } = options;
  requireTensor('kv_lengths', kv_lengths, ['int32'], ['sequences'], device);
  const sequences = requireInteger('sequences', kv_lengths.size, 0, 65535);
  requireTensor('cu_seqlens', cu_seqlens, ['int32'], [sequences + 1], device);
  requireTensor('block_table', block_table, ['int32'], [sequences, 'pages'], device);
  const room = dim(block_table, 1) * PAGE_TOKENS;
  const maxKvLength = requireInteger('max_kv_length', options.max_kv_length ?? room, 0, room);
  const maxNewTokens = requireInteger('max_new_tokens', options.max_new_tokens, 0, maxKvLength);
  const window = requireInteger('sliding_window', options.sliding_window ?? 0, 0);
  const positive = (x: number) => x > 0 && Number.isFinite(x);
  const scale = requireNumber('scale', options.scale ?? head_dim ** -0.5, 'a number > 0', positive);
  const output = outputTensor(options.output, cache.dtype, query.dims, device);
  guard(() =>
    device.kernels.attention(device.handle, {
      query: query.handle,
      output: output.handle,
      keys: cache.keys.handle,
      values: cache.values.handle,
      cuSeqlens: cu_seqlens.handle,
      kvLengths: kv_lengths.handle,
      blockTable: block_table.handle,
      blockTableStride: dim(block_table, 1),
      numSequences: sequences,
      maxNewTokens,
      maxKvLength,
      numHeads: heads,
      numKvHeads: kvHeads,
      headDim: head_dim,
      scale,
      window,
    }),
  );
  return output;
}
