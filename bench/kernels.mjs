/**
 * The kernels through komt/kernels, on this machine's GPU:
 *
 *   npm run bench:kernels -- [--device cuda:1] [--only gemm] [--json FILE]
 *
 * One line each: median time of graph replays, rate, and percent of what this GPU was measured to do in
 * the same run (bytes: a device-to-device copy; FLOPs: the fastest large product of ours). The C++
 * microbenchmarks in bench/kernels/ measure against a read-only stream and mma.sync from registers.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import {
  attention,
  DeviceError,
  DeviceTensor,
  device,
  gemm,
  KvCache,
  PAGE_TOKENS,
  rms_norm,
  rope,
  sample,
} from '../dist/kernels.js';

const { values: options } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda' },
    only: { type: 'string', default: '' },
    json: { type: 'string' },
    // Shapes of a toy model: to see that everything runs where speed means nothing.
    tiny: { type: 'boolean', default: false },
  },
});

function open() {
  try {
    return device(options.device);
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    console.log(`no CUDA device: skipped (${error.message})`);
    return null;
  }
}

const MODELS = options.tiny
  ? [{ name: 'toy', hidden: 128, inner: 320, heads: 2, vocab: 500 }]
  : [
      { name: '7B', hidden: 4096, inner: 11008, heads: 32, vocab: 32000 },
      { name: '13B', hidden: 5120, inner: 13824, heads: 40, vocab: 32000 },
    ];
const HEAD_DIM = options.tiny ? 64 : 128;
const ROWS = options.tiny ? [1, 3] : [1, 8, 64, 2048];
const CONTEXTS = options.tiny ? [100] : [512, 4096];
const PROMPTS = options.tiny ? [70] : [2048, 8192];

/** A block of standard normal numbers that tensors are tiled with. */
const NORMALS = Float32Array.from(
  { length: options.tiny ? 1 << 12 : 1 << 20 },
  () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()),
);

/**
 * `save` gets all results so far after the ceilings and after each group, so that a run that is cut
 * short keeps what it has.
 */
function run(gpu, save) {
  const results = [];
  let copyRate = 0;
  let productRate = 0;
  /** What a group has made; given back when it is done. */
  let kept = [];
  function keep(resource) {
    kept.push(resource);
    return resource;
  }

  function normal(dims, dtype = 'float16', deviation = 1) {
    const tensor = new DeviceTensor(gpu, dtype, dims);
    const block = deviation === 1 ? NORMALS : NORMALS.map((x) => x * deviation);
    for (let at = 0; at < tensor.size; at += block.length) {
      tensor.write(block.subarray(0, Math.min(block.length, tensor.size - at)), at);
    }
    return tensor;
  }
  const int32 = (values, dims) => keep(DeviceTensor.fromArray(gpu, values, dims, 'int32'));

  /** So many copies of what a launch reads that the cache holds none of them when it comes again. */
  function rotating(bytes, make) {
    const copies = Math.min(64, Math.ceil((2 * gpu.properties.l2Bytes) / bytes) + 1);
    return Array.from({ length: options.tiny ? 2 : copies }, make);
  }

  const timing = options.tiny ? { launches: 2, repeats: 3 } : {};

  function report(kernel, what, us, { bytes, flops }) {
    const rate = ((bytes ?? flops) / us) * 1e6;
    const ceiling = bytes ? copyRate : productRate;
    const percent = ceiling > 0 ? (100 * rate) / ceiling : null;
    results.push({ kernel, what, us, ...(bytes ? { bytes } : { flops }), rate, percent });
    const shown = bytes ? `${(rate / 1e9).toFixed(0)} GB/s` : `${(rate / 1e12).toFixed(1)} TFLOP/s`;
    const of =
      percent === null
        ? ''
        : `${percent.toFixed(1)}% of ${bytes ? 'the copy' : 'the best product'}`;
    console.log(
      `${kernel.padEnd(10)} ${what.padEnd(34)} ${us.toFixed(1).padStart(9)} us ${shown.padStart(14)}  ${of}`,
    );
  }

  function ceilings() {
    const count = options.tiny ? 1 << 16 : 1 << 28;
    const source = keep(new DeviceTensor(gpu, 'float32', [count]));
    const target = keep(new DeviceTensor(gpu, 'float32', [count]));
    source.write(NORMALS);
    const us = gpu.measure(() => target.copyFrom(source), timing);
    copyRate = ((2 * 4 * count) / us) * 1e6;
    report('copy', `${count} float32`, us, { bytes: 8 * count });
    const n = options.tiny ? 128 : 8192;
    const a = keep(normal([n, n]));
    const b = keep(normal([n, n], 'float16', 0.02));
    const c = keep(new DeviceTensor(gpu, 'float16', [n, n]));
    const productUs = gpu.measure(() => gemm(a, b, { output: c }), timing);
    productRate = ((2 * n ** 3) / productUs) * 1e6;
    report('gemm', `${n} x ${n} x ${n}`, productUs, { flops: 2 * n ** 3 });
  }

  function benchGemm({ name, hidden, inner, heads, vocab }) {
    const layers = [
      ['qkv', 3 * heads * HEAD_DIM, hidden, 'store'],
      ['o', hidden, hidden, 'residual_add'],
      ['gate+up', 2 * inner, hidden, 'silu_gate'],
      ['down', hidden, inner, 'residual_add'],
      ['lm_head', vocab, hidden, 'store'],
    ];
    for (const [layer, n, k, epilogue] of layers) {
      const weights = rotating(2 * n * k, () => normal([n, k], 'float16', 0.02));
      for (const m of ROWS) {
        const input = keep(normal([m, k]));
        const columns = epilogue === 'silu_gate' ? n / 2 : n;
        const dtype = epilogue === 'residual_add' ? 'float32' : 'float16';
        const output = keep(DeviceTensor.zeros(gpu, dtype, [m, columns]));
        const us = gpu.measure((i) => {
          gemm(input, weights[i % weights.length], { epilogue, output });
        }, timing);
        // Below some hundred rows the weights' bytes are the limit, above it the products.
        const work =
          m <= 64 ? { bytes: 2 * (n * k + m * k + m * columns) } : { flops: 2 * m * n * k };
        report('gemm', `${name} ${layer} m=${m} ${n}x${k}`, us, work);
      }
      for (const weight of weights) weight.dispose();
    }
  }

  function benchAttention({ name, heads }) {
    const width = heads * HEAD_DIM;
    for (const context of CONTEXTS) {
      const pages = Math.ceil(context / PAGE_TOKENS);
      const bytes = 2 * 2 * context * width;
      const caches = rotating(bytes, () => filledCache(pages, heads));
      const query = keep(normal([1, width]));
      const output = keep(new DeviceTensor(gpu, 'float16', [1, width]));
      const batch = {
        cu_seqlens: int32([0, 1]),
        kv_lengths: int32([context]),
        block_table: int32(
          Array.from({ length: pages }, (_, i) => i),
          [1, pages],
        ),
        max_new_tokens: 1,
        output,
      };
      const us = gpu.measure((i) => attention(query, caches[i % caches.length], batch), timing);
      report('attention', `${name} decode at ${context}`, us, { bytes });
      for (const cache of caches) cache.dispose();
    }
    for (const length of PROMPTS) {
      const pages = Math.ceil(length / PAGE_TOKENS);
      const cache = keep(filledCache(pages, heads));
      const query = keep(normal([length, width]));
      const output = keep(new DeviceTensor(gpu, 'float16', [length, width]));
      const batch = {
        cu_seqlens: int32([0, length]),
        kv_lengths: int32([length]),
        block_table: int32(
          Array.from({ length: pages }, (_, i) => i),
          [1, pages],
        ),
        max_new_tokens: length,
        output,
      };
      const us = gpu.measure(() => attention(query, cache, batch), timing);
      // Two products of length^2 * head_dim a head, half of it masked.
      report('attention', `${name} prefill of ${length}`, us, { flops: 2 * length ** 2 * width });
    }
  }

  function filledCache(pages, heads) {
    const cache = new KvCache(gpu, { pages, num_key_value_heads: heads, head_dim: HEAD_DIM });
    for (const tensor of [cache.keys, cache.values]) {
      for (let at = 0; at < tensor.size; at += NORMALS.length) {
        tensor.write(NORMALS.subarray(0, Math.min(NORMALS.length, tensor.size - at)), at);
      }
    }
    return cache;
  }

  function benchElementwise({ name, hidden, heads }) {
    for (const m of ROWS) {
      const inputs = rotating(4 * m * hidden, () => normal([m, hidden], 'float32'));
      const weight = keep(normal([hidden], 'float32'));
      const output = keep(new DeviceTensor(gpu, 'float16', [m, hidden]));
      const normUs = gpu.measure((i) => {
        rms_norm(inputs[i % inputs.length], weight, { output });
      }, timing);
      report('rms_norm', `${name} [${m}, ${hidden}]`, normUs, { bytes: 6 * m * hidden });
      for (const input of inputs) input.dispose();

      const pages = Math.ceil(m / PAGE_TOKENS);
      const cache = keep(
        new KvCache(gpu, { pages, num_key_value_heads: heads, head_dim: HEAD_DIM }),
      );
      const width = heads * HEAD_DIM;
      const qkvs = rotating(6 * m * width, () => normal([m, 3 * width]));
      const query = keep(new DeviceTensor(gpu, 'float16', [m, width]));
      const target = {
        cache,
        num_attention_heads: heads,
        cos: keep(normal([m, HEAD_DIM / 2], 'float32')),
        sin: keep(normal([m, HEAD_DIM / 2], 'float32')),
        positions: int32(Array.from({ length: m }, (_, i) => i)),
        sequence_ids: int32(new Array(m).fill(0)),
        block_table: int32(
          Array.from({ length: pages }, (_, i) => i),
          [1, pages],
        ),
        output: query,
      };
      const ropeUs = gpu.measure((i) => rope(qkvs[i % qkvs.length], target), timing);
      report('rope', `${name} m=${m}, ${heads} heads`, ropeUs, { bytes: 12 * m * width });
      for (const qkv of qkvs) qkv.dispose();
    }
  }

  function benchPages({ name, heads }) {
    const count = options.tiny ? 2 : 128;
    const cache = keep(filledCache(2 * count, heads));
    const sources = int32(Array.from({ length: count }, (_, i) => i));
    const targets = int32(Array.from({ length: count }, (_, i) => count + i));
    const us = gpu.measure(() => cache.copyPages(sources, targets), timing);
    const bytes = 2 * 2 * 2 * count * heads * PAGE_TOKENS * HEAD_DIM;
    report('kv_cache', `${name} copy of ${count} pages`, us, { bytes });
  }

  function benchSample({ name, vocab }) {
    for (const rows of options.tiny ? [2] : [1, 64]) {
      const make = () => normal([rows, vocab], 'float32', 3);
      const logits = rotating(4 * rows * vocab, make);
      const originals = logits.map(make);
      // Random sampling overwrites its logits: each launch is followed by a copy that restores them,
      // and what the copies take by themselves is subtracted.
      const restore = (i) => {
        logits[i % logits.length].copyFrom(originals[i % logits.length]);
      };
      const copying = gpu.measure(restore, timing);
      const output = keep(new DeviceTensor(gpu, 'int32', [rows]));
      const random = {
        do_sample: true,
        steps: int32(new Array(rows).fill(0)),
        stream_lanes: int32(Array.from({ length: rows }, (_, i) => i)),
        stream_hashes: int32(new Array(2 * rows).fill(0), [rows, 2]),
      };
      for (const [what, settings] of [
        ['greedy', {}],
        ['top_k 50, top_p 0.95', { ...random, top_k: 50, top_p: 0.95 }],
      ]) {
        const us = gpu.measure((i) => {
          sample(logits[i % logits.length], { ...settings, output });
          if (settings.do_sample) restore(i);
        }, timing);
        const sampling = settings.do_sample ? us - copying : us;
        report('sample', `${name} ${what}, ${rows} rows`, sampling, { bytes: 4 * rows * vocab });
      }
      for (const tensor of [...logits, ...originals]) tensor.dispose();
    }
  }

  const { name, computeCapability, multiProcessorCount } = gpu.properties;
  console.log(`${name}, compute capability ${computeCapability}, ${multiProcessorCount} SMs`);
  const saveAll = () => save({ device: gpu.properties, copyRate, productRate, results });
  ceilings();
  saveAll();
  const groups = {
    gemm: benchGemm,
    attention: benchAttention,
    elementwise: benchElementwise,
    kv_cache: benchPages,
    sample: benchSample,
  };
  for (const [group, body] of Object.entries(groups)) {
    if (!group.includes(options.only)) continue;
    for (const model of MODELS) {
      body(model);
      for (const resource of kept) resource.dispose();
      kept = [];
      saveAll();
    }
  }
}

const gpu = open();
if (gpu) {
  try {
    run(gpu, (results) => {
      if (options.json) writeFileSync(options.json, `${JSON.stringify(results, null, 1)}\n`);
    });
  } finally {
    gpu.dispose();
  }
}
