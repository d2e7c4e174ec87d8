import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { softmax } from '../../lib/generation/float32.js';
import { generate } from '../../lib/generation/generate.js';
import type { GenerationFields } from '../../lib/generation/generation-fields.js';
import { get_logits_processor } from '../../lib/generation/logits-processor-list.js';
import {
  nextSeed,
  philox4x32,
  pick,
  randomStreams,
  sampleToken,
  set_seed,
  streamHash,
  toSeed,
  uniform,
  type Words4,
} from '../../lib/generation/random.js';
import { hashModel } from './fake-engine.js';
import { collectWarnings, rowsOf } from './support.js';

collectWarnings();

describe('philox4x32', () => {
  // Random123's kat_vectors, "philox4x32 10".
  it.each<[Words4, [number, number], Words4]>([
    [
      [0, 0, 0, 0],
      [0, 0],
      [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
    ],
    [
      [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
      [0xffffffff, 0xffffffff],
      [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
    ],
    [
      [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      [0xa4093822, 0x299f31d0],
      [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    ],
  ])('gives the known answer for %j', (counter, key, expected) => {
    expect(philox4x32(counter, key)).toEqual(expected);
  });
});

describe('streamHash', () => {
  it('is FNV-1a over little-endian bytes', () => {
    const fnv = (bytes: Iterable<number>): bigint => {
      let hash = 0xcbf29ce484222325n;
      for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
      return hash;
    };
    // The hash of "a" as published with the algorithm.
    expect(fnv([0x61])).toBe(0xaf63dc4c8601ec8cn);
    const ids = [1, 32000, 0x7fffffff, 0x01020304];
    expect(streamHash(ids)).toBe(fnv(new Uint8Array(Int32Array.from(ids).buffer)));
    expect(streamHash([])).toBe(0xcbf29ce484222325n);
  });
});

describe('uniform', () => {
  it('takes 53 bits of the first two words', () => {
    const [a, b] = philox4x32([7, 3, 0x89abcdef, 0x01234567], [5, 9]);
    const expected = ((BigInt(a) << 32n) | BigInt(b)) >> 11n;
    const stream = { hash: 0x0123456789abcdefn, lane: 3 };
    expect(uniform((9n << 32n) | 5n, stream, 7)).toBe(Number(expected) * 2 ** -53);
  });

  it('stays in [0, 1) and is even', () => {
    const bins = new Array<number>(16).fill(0);
    for (let step = 0; step < 16000; step++) {
      const u = uniform(1n, { hash: 2n, lane: 0 }, step);
      bins[Math.floor(u * 16)] = (bins[Math.floor(u * 16)] as number) + 1;
    }
    // 15 degrees of freedom: 37.7 is p = 0.001.
    expect(bins.reduce((sum, n) => sum + (n - 1000) ** 2 / 1000, 0)).toBeLessThan(37.7);
  });
});

describe('randomStreams', () => {
  it('numbers equal prompts and return sequences', () => {
    const streams = randomStreams([[1], [2], [1]], 2);
    expect(streams.map(({ lane }) => lane)).toEqual([0, 1, 0, 1, 2, 3]);
    expect(streams[0]?.hash).toBe(streams[4]?.hash);
    expect(streams[0]?.hash).not.toBe(streams[2]?.hash);
  });
});

describe('toSeed', () => {
  it('takes integers and bigints to 64 bits', () => {
    expect(toSeed(-1)).toBe(2n ** 64n - 1n);
    expect(toSeed(2n ** 64n + 5n)).toBe(5n);
    expect(() => toSeed(0.5)).toThrow(
      'Expected an integer or a bigint for seed but received 0.5 of type number',
    );
  });
});

describe('pick and sampleToken', () => {
  it('takes the first id whose running sum exceeds u * total', () => {
    const w = Float32Array.of(0, 0.5, 0, 0.5, 0);
    expect(pick(w, 1, 0)).toBe(1);
    expect(pick(w, 1, 0.49)).toBe(1);
    expect(pick(w, 1, 0.5)).toBe(3);
    expect(pick(w, 1, 1)).toBe(3);
  });

  it('never takes an impossible token, and refuses scores that are no distribution', () => {
    const scores = Float32Array.of(Number.NEGATIVE_INFINITY, 1, Number.NEGATIVE_INFINITY);
    for (const u of [0, 0.3, 0.999999]) expect(sampleToken(scores, u)).toBe(1);
    const text = 'probability tensor contains either `inf`, `nan` or element < 0';
    expect(() => sampleToken(Float32Array.of(1, Number.NaN), 0)).toThrow(text);
    expect(() => sampleToken(new Float32Array(2).fill(-Infinity), 0)).toThrow(text);
  });
});

/** Upper tail of the chi-square distribution, by the continued fraction or series of gamma. */
function chiSquareP(x: number, degrees: number): number {
  const a = degrees / 2;
  const z = x / 2;
  const logGamma = (n: number): number => {
    // Stirling's series at n + 8, brought down by the recurrence.
    let shift = 0;
    let y = n;
    while (y < 8) shift += Math.log(y++);
    const r = 1 / (y * y);
    const series = (1 / 12 - r * (1 / 360 - r * (1 / 1260 - r / 1680))) / y;
    return (y - 0.5) * Math.log(y) - y + 0.5 * Math.log(2 * Math.PI) + series - shift;
  };
  let term = 1 / a;
  let sum = term;
  for (let n = 1; n < 1000 && term > sum * 1e-15; n++) {
    term *= z / (a + n);
    sum += term;
  }
  return 1 - sum * Math.exp(-z + a * Math.log(z) - logGamma(a));
}

describe('chiSquareP', () => {
  it('is the tabulated tail', () => {
    expect(chiSquareP(3.841, 1)).toBeCloseTo(0.05, 4);
    expect(chiSquareP(29.588, 10)).toBeCloseTo(0.001, 5);
  });
});

interface WarperCase {
  config: GenerationFields;
  prompt_length: number;
  input_ids: number[];
  logits: number[];
  probs: number[];
}

describe('20,000 draws from a warped distribution', () => {
  const { cases } = JSON.parse(
    readFileSync(new URL('../fixtures/goldens/warpers.json', import.meta.url), 'utf8'),
  ) as { cases: WarperCase[] };
  // Of each of these configurations the first vector; the last is without warpers.
  const indices = [0, 6, 24, 33, 18];

  it.each(indices.map((i) => [JSON.stringify(cases[i]?.config), i] as const))('%s', (_, index) => {
    const c = cases[index] as WarperCase;
    const processors = get_logits_processor(
      { do_sample: true, max_length: 400, ...c.config },
      { input_ids_seq_length: c.prompt_length, eos_token_id: 2 },
    );
    const [scores] = processors([c.input_ids], [Float32Array.from(c.logits)]) as [Float32Array];
    const draws = 20000;
    const counts = new Array<number>(scores.length).fill(0);
    for (let step = 0; step < draws; step++) {
      const id = sampleToken(scores, uniform(20231101n, { hash: 7n, lane: 0 }, step));
      counts[id] = (counts[id] as number) + 1;
    }
    const probabilities = softmax(scores);
    // Bins with fewer than five expected draws are pooled, as the test requires.
    const pool = { expected: 0, count: 0 };
    let statistic = 0;
    let bins = 0;
    counts.forEach((count, id) => {
      expect(Math.abs((probabilities[id] as number) - (c.probs[id] as number))).toBeLessThan(1e-4);
      const expected = (probabilities[id] as number) * draws;
      if (expected === 0) expect(count).toBe(0);
      else if (expected < 5) {
        pool.expected += expected;
        pool.count += count;
      } else {
        statistic += (count - expected) ** 2 / expected;
        bins++;
      }
    });
    if (pool.expected > 0) {
      statistic += (pool.count - pool.expected) ** 2 / pool.expected;
      bins++;
    }
    expect(chiSquareP(statistic, bins - 1)).toBeGreaterThan(0.001);
  });
});

describe('seeds', () => {
  const options = { do_sample: true, max_new_tokens: 12, pad_token_id: 0 };
  const a = [1, 7];
  const b = [1, 3, 8, 4];
  const run = async (input_ids: number[][], more: object = {}): Promise<number[][]> =>
    rowsOf(
      await generate(hashModel({}), {
        input_ids,
        ...options,
        seed: 11,
        ...more,
        return_dict_in_generate: false,
        output_logprobs: null,
      }),
    );

  it('repeat, and differ from each other', async () => {
    expect(await run([a])).toEqual(await run([a]));
    expect(await run([a])).not.toEqual(await run([a], { seed: 12 }));
    expect(await run([a], { seed: 2n ** 40n })).not.toEqual(await run([a], { seed: 0 }));
  });

  it('give the same text alone and in a batch, natively and in JavaScript', async () => {
    const [aloneA] = await run([a]);
    const [aloneB] = await run([b]);
    for (const logits_processor of [[], [(_: number[][], s: Float32Array[]) => s]]) {
      const batch = await run([[0, 0, ...a], b], {
        attention_mask: [
          [0, 0, 1, 1],
          [1, 1, 1, 1],
        ],
        logits_processor,
      });
      expect(batch[0]?.slice(4)).toEqual(aloneA?.slice(2));
      expect(batch[1]).toEqual(aloneB);
    }
  });

  it('give equal prompts of a batch and return sequences different texts', async () => {
    const two = await run([b, b], { attention_mask: [b, b] });
    expect(two[0]).not.toEqual(two[1]);
    const returned = await run([b], { num_return_sequences: 2 });
    expect(returned).toEqual(two);
  });

  it('are random where none is given', async () => {
    const texts = await Promise.all([1, 2, 3].map(() => run([a], { seed: null })));
    expect(new Set(texts.map(String)).size).toBe(3);
  });

  it('repeat beam sampling', async () => {
    const beams = { num_beams: 3, num_return_sequences: 3 };
    expect(await run([a], beams)).toEqual(await run([a], beams));
    expect(await run([a], beams)).not.toEqual(await run([a], { ...beams, seed: 5 }));
  });
});

describe('set_seed', () => {
  it('gives the calls behind it seeds that follow from it, the first one itself', () => {
    const seeds = () => Array.from({ length: 4 }, nextSeed);
    set_seed(42);
    const first = seeds();
    set_seed(42n);
    expect(seeds()).toEqual(first);
    expect(first[0]).toBe(42n);
    expect(new Set(first).size).toBe(4);
    set_seed(43);
    expect(seeds().some((seed) => first.includes(seed))).toBe(false);
    set_seed(null);
    expect(nextSeed()).not.toBe(nextSeed());
  });

  it('repeats what calls without a seed of their own draw', async () => {
    const draw = () =>
      generate(hashModel(), { input_ids: [[1, 2]], do_sample: true, max_new_tokens: 8 });
    set_seed(7);
    const texts = [rowsOf(await draw()), rowsOf(await draw())];
    set_seed(7);
    expect([rowsOf(await draw()), rowsOf(await draw())]).toEqual(texts);
    expect(texts[0]).not.toEqual(texts[1]);
    set_seed(null);
  });

  it('wants an integer', () => {
    for (const seed of [1.5, '7', undefined, Number.NaN]) {
      expect(() => set_seed(seed as never)).toThrow(/seed/);
    }
  });
});
