/** What a decode step takes the GPU alone: the kernels of one token, replayed as a graph. */
import { attention, DeviceTensor, gemm, KvCache, PAGE_TOKENS, sample } from '../../dist/kernels.js';

/**
 * Microseconds of one step of a model of this shape at a context: one layer, as often as there are
 * layers, and the head. Launches follow each other without overlap, which is slower than the engine may
 * be; what a real step takes longer is the host's share and the gaps between kernels.
 */
export function deviceStep(gpu, shape, context, timing) {
  const { hidden_size: hidden, intermediate_size: inner, vocab_size: vocab } = shape;
  const heads = shape.num_attention_heads;
  const kvHeads = shape.num_key_value_heads;
  const head_dim = hidden / heads;
  const kept = [];
  const keep = (resource) => {
    kept.push(resource);
    return resource;
  };
  const block = Float32Array.from({ length: 1 << 16 }, () => 0.04 * (Math.random() - 0.5));
  const filled = (dims, dtype) => {
    const tensor = keep(new DeviceTensor(gpu, dtype, dims));
    for (let at = 0; at < tensor.size; at += block.length) {
      tensor.write(block.subarray(0, Math.min(block.length, tensor.size - at)), at);
    }
    return tensor;
  };
  const int32 = (values, dims) => keep(DeviceTensor.fromArray(gpu, values, dims, 'int32'));
  const half = (...dims) => filled(dims, 'float16');
  const float = (...dims) => filled(dims, 'float32');
  try {
    const pages = Math.ceil(context / PAGE_TOKENS);
    const cache = keep(new KvCache(gpu, { pages, num_key_value_heads: kvHeads, head_dim }));
    for (const tensor of [cache.keys, cache.values]) tensor.write(new Float32Array(tensor.size));
    const block_table = int32(
      Array.from({ length: pages }, (_, i) => i),
      [1, pages],
    );
    const residual = float(1, hidden);
    const query = half(1, hidden);
    const mixed = half(1, hidden);
    const gated = half(1, inner);
    const logits = float(1, vocab);
    const token = int32([0]);
    const norm = { weight: float(hidden), eps: 1e-5 };
    const qkv = half((heads + 2 * kvHeads) * head_dim, hidden);
    const o = half(hidden, hidden);
    const gateUp = half(2 * inner, hidden);
    const down = half(hidden, inner);
    const lmHead = half(vocab, hidden);
    const rope = {
      cache,
      num_attention_heads: heads,
      cos: float(1, head_dim / 2),
      sin: float(1, head_dim / 2),
      rope_rows: int32([0]),
      positions: int32([context - 1]),
      sequence_ids: int32([0]),
      block_table,
    };
    const batch = {
      cu_seqlens: int32([0, 1]),
      kv_lengths: int32([context]),
      block_table,
      max_new_tokens: 1,
      output: mixed,
    };
    const layer = gpu.measure(() => {
      gemm(residual, qkv, { norm, epilogue: 'rope_append', rope, output: query });
      attention(query, cache, batch);
      gemm(mixed, o, { epilogue: 'residual_add', output: residual });
      gemm(residual, gateUp, { norm, epilogue: 'silu_gate', output: gated });
      gemm(gated, down, { epilogue: 'residual_add', output: residual });
    }, timing);
    const head = gpu.measure(() => {
      gemm(residual, lmHead, { norm, output: logits });
      sample(logits, { output: token });
    }, timing);
    return { layer_us: layer, head_us: head, step_us: shape.num_hidden_layers * layer + head };
  } finally {
    for (const resource of kept) resource.dispose();
  }
}
