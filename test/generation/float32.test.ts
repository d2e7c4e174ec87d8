import { expect, it } from 'vitest';
import { Largest, sortAscending, topK } from '../../lib/generation/float32.js';
import { pick } from '../../lib/generation/random.js';
import { WeightTree } from '../../lib/generation/weight-tree.js';

/** Values with many equal ones, both zeros and both infinities. */
function values(n: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: n }, (_, i) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    if (i % 97 === 0)
      return [0, -0, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY][i % 4] as number;
    return i % 3 === 0 ? (state >>> 28) - 8 : state / 2 ** 28 - 8;
  });
}

function reference(row: Float32Array, sign: 1 | -1): number[] {
  return Array.from(row, (_, i) => i).sort((a, b) => {
    const [x, y] = [row[a] as number, row[b] as number];
    return x === y ? a - b : x < y ? -sign : sign;
  });
}

it.each([1, 2, 17, 1000, 40_000])('%d values are sorted, equal ones in their order', (n) => {
  const row = values(n, n);
  expect([...sortAscending(row)]).toEqual(reference(row, 1));
  const among = Uint32Array.from(row.keys()).filter((i) => i % 3 !== 1);
  const chosen = new Set(among);
  expect([...sortAscending(row, among)]).toEqual(reference(row, 1).filter((i) => chosen.has(i)));
});

it('NaN comes last, whatever its sign', () => {
  const row = new Float32Array([Number.NaN, 1, -1]);
  new Uint32Array(row.buffer)[0] = 0xffc00000;
  expect([...sortAscending(row)]).toEqual([2, 1, 0]);
});

it.each([1, 7, 100, 1000])('the %d largest come best first, whole or in parts', (k) => {
  const row = values(1000, k);
  const best = reference(row, -1).slice(0, k);
  expect(topK(row, k)).toEqual(best);
  const largest = new Largest(k);
  for (let start = 0; start < 1000; start += 100) {
    largest.offer(row.subarray(start, start + 100), 0, start);
  }
  expect(largest.sorted().map(({ place }) => place)).toEqual(best);
});

it('drawing from a tree is drawing from the list', () => {
  for (let seed = 1; seed <= 40; seed++) {
    const weights = values(1 + seed * 37, seed).map((x) => (Number.isFinite(x) && x > 0 ? x : 0));
    const left = weights.slice();
    const tree = new WeightTree(weights);
    for (let draw = 0; draw < 60; draw++) {
      const u = (Math.imul(draw + seed, 2654435761) >>> 0) / 2 ** 32;
      const total = left.reduce((a, b) => a + b, 0);
      const expected = total > 0 ? pick(left, total, u) : -1;
      expect(tree.draw(u)).toBe(expected);
      if (expected >= 0) left[expected] = 0;
    }
  }
});
