import { attention, type Device, DeviceTensor, gemm, KvCache, rope } from 'komt/kernels';
import { expect, it } from 'vitest';
import { describeOnDevices } from './devices.js';
import { normals, worst } from './random.js';

const int32 = (gpu: Device, values: number[], dims?: number[]) =>
  DeviceTensor.fromArray(gpu, values, dims, 'int32');

/** cos or sin of position / 10000^(2 i / head_dim): [positions, head_dim / 2]. */
function table(f: (x: number) => number, positions: number, headDim: number): Float32Array {
  const half = headDim / 2;
  return Float32Array.from({ length: positions * half }, (_, i) =>
    f(Math.floor(i / half) / 10000 ** ((2 * (i % half)) / headDim)),
  );
}

/** A ragged batch: cache lengths before, new tokens of each sequence, pages in a shuffled order. */
interface Batch {
  heads: number;
  kvHeads: number;
  headDim: number;
  /** [tokens in the cache already, new tokens] of each sequence. */
  sequences: [number, number][];
  window?: number;
}

/** Float64 attention of one query row over keys and values 0..position of its sequence. */
function reference(
  q: Float64Array,
  keys: Float64Array[],
  values: Float64Array[],
  position: number,
  window: number,
): Float64Array {
  const first = window > 0 ? Math.max(0, position - window + 1) : 0;
  const scores: number[] = [];
  for (let t = first; t <= position; t++) {
    const key = keys[t] as Float64Array;
    scores.push(q.reduce((sum, x, i) => sum + x * (key[i] as number), 0) / Math.sqrt(q.length));
  }
  const max = Math.max(...scores);
  const weights = scores.map((s) => Math.exp(s - max));
  const total = weights.reduce((a, b) => a + b, 0);
  const out = new Float64Array(q.length);
  weights.forEach((w, t) => {
    (values[first + t] as Float64Array).forEach((v, i) => {
      out[i] = (out[i] as number) + (w / total) * v;
    });
  });
  return out;
}

function rotate(x: ArrayLike<number>, position: number): Float64Array {
  const half = x.length / 2;
  return Float64Array.from({ length: x.length }, (_, i) => {
    const angle = position / 10000 ** ((2 * (i % half)) / x.length);
    const partner = x[(i + half) % x.length] as number;
    return (x[i] as number) * Math.cos(angle) + (i < half ? -1 : 1) * partner * Math.sin(angle);
  });
}

/** Appends all tokens through `rope` in two calls, attends for the new ones, and the same in float64. */
function run(gpu: Device, batch: Batch) {
  const { heads, kvHeads, headDim, sequences, window = 0 } = batch;
  const lengths = sequences.map(([before, fresh]) => before + fresh);
  const longest = Math.max(...lengths);
  const perSequence = Math.ceil(longest / 64);
  const pages = perSequence * sequences.length;
  const cache = new KvCache(gpu, { pages, num_key_value_heads: kvHeads, head_dim: headDim });
  const blockTable = Array.from({ length: pages }, (_, i) => (i * 7 + 3) % pages);
  // 7 shares no factor with the page counts used here, so every page occurs once.
  expect(new Set(blockTable).size).toBe(pages);
  const block_table = int32(gpu, blockTable, [sequences.length, perSequence]);
  const half = headDim / 2;
  const cos = DeviceTensor.fromArray(gpu, table(Math.cos, longest, headDim), [longest, half]);
  const sin = DeviceTensor.fromArray(gpu, table(Math.sin, longest, headDim), [longest, half]);

  const keys: Float64Array[][][] = sequences.map(() => Array.from({ length: kvHeads }, () => []));
  const values: Float64Array[][][] = sequences.map(() => Array.from({ length: kvHeads }, () => []));
  const expected: number[] = [];
  let query: DeviceTensor | undefined;
  for (const phase of ['before', 'new'] as const) {
    const tokens = sequences.flatMap(([before, fresh], s) =>
      Array.from({ length: phase === 'before' ? before : fresh }, (_, i) => ({
        s,
        position: phase === 'before' ? i : before + i,
      })),
    );
    if (tokens.length === 0) continue;
    const width = (heads + 2 * kvHeads) * headDim;
    const qkv = DeviceTensor.fromArray(
      gpu,
      normals(tokens.length * width, phase === 'new' ? 11 : 12),
      [tokens.length, width],
      'float16',
    );
    query = rope(qkv, {
      cache,
      num_attention_heads: heads,
      cos,
      sin,
      positions: int32(
        gpu,
        tokens.map((t) => t.position),
      ),
      sequence_ids: int32(
        gpu,
        tokens.map((t) => t.s),
      ),
      block_table,
    });
    const rows = qkv.toArray();
    tokens.forEach(({ s, position }, r) => {
      const head = (h: number) =>
        rows.subarray(r * width + h * headDim, r * width + (h + 1) * headDim);
      for (let h = 0; h < kvHeads; h++) {
        keys[s]?.[h]?.push(rotate(head(heads + h), position));
        values[s]?.[h]?.push(Float64Array.from(head(heads + kvHeads + h)));
      }
    });
    if (phase === 'before') continue;
    tokens.forEach(({ s, position }, r) => {
      for (let h = 0; h < heads; h++) {
        const q = rotate(rows.subarray(r * width + h * headDim).subarray(0, headDim), position);
        const kv = Math.floor(h / (heads / kvHeads));
        const k = keys[s]?.[kv] as Float64Array[];
        const v = values[s]?.[kv] as Float64Array[];
        expected.push(...reference(q, k, v, position, window));
      }
    });
  }
  const starts = [0];
  for (const [, fresh] of sequences) starts.push((starts.at(-1) as number) + fresh);
  const options = {
    cu_seqlens: int32(gpu, starts),
    kv_lengths: int32(gpu, lengths),
    block_table,
    max_new_tokens: Math.max(...sequences.map(([, fresh]) => fresh)),
    sliding_window: window,
  };
  const output = attention(query as DeviceTensor, cache, options);
  return { output: output.toArray(), expected, cache, query: query as DeviceTensor, options };
}

describeOnDevices('attention', (open) => {
  const batches: Record<string, Batch> = {
    'a prompt': { heads: 2, kvHeads: 2, headDim: 64, sequences: [[0, 70]] },
    'one new token each, grouped heads': {
      heads: 4,
      kvHeads: 2,
      headDim: 32,
      sequences: [
        [5, 1],
        [64, 1],
        [150, 1],
        [0, 1],
      ],
    },
    'prompt, chunk and decode in one batch': {
      heads: 4,
      kvHeads: 1,
      headDim: 40,
      sequences: [
        [0, 9],
        [66, 3],
        [80, 1],
      ],
    },
    'a sliding window': {
      heads: 2,
      kvHeads: 1,
      headDim: 64,
      sequences: [
        [90, 4],
        [100, 1],
      ],
      window: 17,
    },
    'a cache that is split': { heads: 1, kvHeads: 1, headDim: 64, sequences: [[700, 1]] },
  };
  for (const [name, batch] of Object.entries(batches)) {
    it(`rope and attention against float64: ${name}`, () => {
      using gpu = open();
      const { output, expected } = run(gpu, batch);
      expect(expected.length).toBeGreaterThan(0);
      expect(worst(output, expected)).toBeLessThan(3e-3);
    });
  }

  it('pages copied, gathered and scattered give the same answer from elsewhere', () => {
    using gpu = open();
    const { output, cache, query, options } = run(gpu, batches['a prompt'] as Batch);
    const pages = int32(gpu, [...options.block_table.toArray()]);
    const gathered = cache.gather(pages);
    const inOrder = int32(gpu, [0, 1], [1, 2]);
    const again = attention(query, gathered, { ...options, block_table: inOrder });
    expect(again.toArray()).toEqual(output);
    const larger = new KvCache(gpu, { pages: 5, num_key_value_heads: 2, head_dim: 64 });
    larger.scatter(gathered, int32(gpu, [4, 1]));
    larger.copyPages(int32(gpu, [1]), int32(gpu, [0]));
    const moved = { ...options, block_table: int32(gpu, [4, 0], [1, 2]) };
    expect(attention(query, larger, moved).toArray()).toEqual(output);
    gathered.dispose();
    expect(gathered.disposed).toBe(true);
    expect(() => attention(query, gathered, options)).toThrow(/was disposed/);
  });

  it('the product of qkv appends what rope appends', () => {
    using gpu = open();
    const heads = 2;
    const headDim = 16;
    const width = 4 * headDim;
    const input = DeviceTensor.fromArray(gpu, normals(3 * 24, 1), [3, 24], 'float16');
    const weight = DeviceTensor.fromArray(gpu, normals(width * 24, 2), [width, 24], 'float16');
    const half = headDim / 2;
    const caches = [0, 1].map(() => {
      const cache = new KvCache(gpu, { pages: 1, num_key_value_heads: 1, head_dim: headDim });
      cache.keys.write(new Float32Array(cache.keys.size));
      cache.values.write(new Float32Array(cache.values.size));
      return cache;
    }) as [KvCache, KvCache];
    const target = (cache: KvCache) => ({
      cache,
      num_attention_heads: heads,
      cos: DeviceTensor.fromArray(gpu, table(Math.cos, 3, headDim), [3, half]),
      sin: DeviceTensor.fromArray(gpu, table(Math.sin, 3, headDim), [3, half]),
      positions: int32(gpu, [0, 1, 2]),
      sequence_ids: int32(gpu, [0, 0, 0]),
      block_table: int32(gpu, [0], [1, 1]),
    });
    const fused = gemm(input, weight, { epilogue: 'rope_append', rope: target(caches[0]) });
    const apart = rope(gemm(input, weight, { dtype: 'float32' }), target(caches[1]));
    expect(fused.toArray()).toEqual(apart.toArray());
    expect(caches[0].keys.toArray()).toEqual(caches[1].keys.toArray());
    expect(caches[0].values.toArray()).toEqual(caches[1].values.toArray());
    expect(caches[0].keys.toArray().some((x) => x !== 0)).toBe(true);
  });

  it('words what does not fit', () => {
    using gpu = open();
    const { query, cache, options } = run(gpu, batches['a prompt'] as Batch);
    expect(() => attention(query, cache, { ...options, max_new_tokens: 129 })).toThrow(
      'Expected an integer from 0 to 128 for max_new_tokens but received 129 of type number',
    );
    expect(() => attention(query, cache, { ...options, scale: 0 })).toThrow(/> 0 for scale/);
    const narrow = DeviceTensor.zeros(gpu, 'float16', [1, 72]);
    expect(() => attention(narrow, cache, options)).toThrow(/multiple of 2 heads of 64 for query/);
    const few = { ...options, cu_seqlens: int32(gpu, [0, 1, 2]) };
    expect(() => attention(query, cache, few)).toThrow(/tensor \[2\] for cu_seqlens/);
    expect(() => new KvCache(gpu, { pages: 1, num_key_value_heads: 1, head_dim: 12 })).toThrow(
      /a multiple of 8 for head_dim/,
    );
  });
});
