import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { torchSort, torchTopK } from '../../lib/generation/torch-order.js';

const { cases } = JSON.parse(
  readFileSync(new URL('../fixtures/generation/torch-order.json', import.meta.url), 'utf8'),
) as { cases: { values: number[]; k: number; sort: number[]; topk: number[] }[] };

describe("PyTorch's order among equal values", () => {
  it.each(cases.map((c) => [c.values.length, new Set(c.values).size, c.k, c] as const))(
    '%i values, %i of them distinct, top %i',
    (_n, _d, _k, c) => {
      const values = Float32Array.from(c.values);
      expect([...torchSort(values)]).toEqual(c.sort);
      expect([...torchTopK(values, c.k)]).toEqual(c.topk);
    },
  );
});
