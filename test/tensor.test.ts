import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../lib/errors.js';
import { Tensor } from '../lib/tensor.js';

const matrix = Tensor.fromRows([
  [1, 2, 3, 4],
  [5, 6, 7, 8],
]);

describe('slice', () => {
  it('takes ranges as transformers.js does', () => {
    expect(matrix.slice(null, [2, null]).tolist()).toEqual([
      [3, 4],
      [7, 8],
    ]);
    expect(matrix.slice([1, 2]).tolist()).toEqual([[5, 6, 7, 8]]);
    expect(matrix.slice(null, [-3, -1]).tolist()).toEqual([
      [2, 3],
      [6, 7],
    ]);
    expect(matrix.slice().tolist()).toEqual(matrix.tolist());
    expect(matrix.slice(null, [9, null]).dims).toEqual([2, 0]);
    expect(matrix.slice(null, [3, 1]).dims).toEqual([2, 0]);
    expect(matrix[0]?.slice([1, null]).tolist()).toEqual([2, 3, 4]);
    const cube = new Tensor('int32', [0, 1, 2, 3, 4, 5, 6, 7], [2, 2, 2]);
    expect(cube.slice(null, [1, 2]).tolist()).toEqual([[[2, 3]], [[6, 7]]]);
    expect(new Tensor('float32', [3], []).slice().tolist()).toBe(3);
  });

  it('copies, and keeps the type', () => {
    const part = matrix.slice([0, 1]);
    expect(part.type).toBe('int64');
    (part.data as BigInt64Array)[0] = 9n;
    expect(matrix[0]?.[0]).toBe(1);
  });

  it('refuses what is no range', () => {
    expect(() => matrix.slice(1 as unknown as null)).toThrow(InvalidArgumentError);
    expect(() => matrix.slice(1 as unknown as null)).toThrow(
      /found 1\. Write slice\(\[n, null\]\)/,
    );
    expect(() => matrix.slice([0.5, null])).toThrow(/\[start, end\]/);
    expect(() => matrix.slice(null, null, null)).toThrow(/at most 2 ranges/);
  });
});

it('is shown with its dimensions and plain numbers', () => {
  expect(inspect(matrix)).toBe('Tensor(int64, [2, 4]) [ [ 1, 2, 3, 4 ], [ 5, 6, 7, 8 ] ]');
  expect(inspect({ a: matrix[0] })).toBe('{ a: Tensor(int64, [4]) [ 1, 2, 3, 4 ] }');
  const large = new Tensor('float32', new Float32Array(2000), [2000]);
  expect(inspect(large)).toBe('Tensor(float32, [2000]) ...');
});

it('becomes JSON, though its data are BigInt', () => {
  expect(JSON.stringify({ ids: matrix })).toBe('{"ids":[[1,2,3,4],[5,6,7,8]]}');
});

describe('fromRows', () => {
  it('takes no list of holes for rows, and looks for none of them', () => {
    expect(() => Tensor.fromRows(new Array(2 ** 32 - 1))).toThrow('a list of rows');
  });
});
