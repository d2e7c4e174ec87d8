import { CheckpointError } from '../errors.js';
import { LIMITS } from './types.js';

/** True for the integers that sizes and offsets are made of: 0 to 2^53 - 1. */
export function isSize(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

/** a * b of two sizes, or undefined where that is no size. Exact: a product of 2^53 or more never rounds to less. */
export function multiplySizes(a: number, b: number): number | undefined {
  const product = a * b;
  return Number.isSafeInteger(product) ? product : undefined;
}

/**
 * Number of elements of `shape`.
 * @throws CheckpointError where the product overflows, even if a later dimension is 0.
 */
export function countElements(shape: readonly number[], name: string, file: string): number {
  let count = 1;
  for (const size of shape) {
    const product = multiplySizes(count, size);
    if (product === undefined) {
      throw new CheckpointError(`Tensor ${name} has a shape whose element count overflows`, {
        file,
        subject: name,
        found: shape,
        remedy: 'The file is damaged or hostile; download it again from a source you trust.',
      });
    }
    count = product;
  }
  return count;
}

/** Strides of a contiguous tensor, in elements. */
export function rowMajorStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= Math.max(1, shape[i] ?? 1);
  }
  return strides;
}

/**
 * A tensor's name as the formats allow it, bounded in length.
 * @throws CheckpointError
 */
export function checkTensorName(name: string, file: string): void {
  if (name.length === 0 || name.length > LIMITS.nameLength) {
    throw new CheckpointError('A tensor name has an impossible length', {
      file,
      subject: name.slice(0, 80),
      expected: `1 to ${LIMITS.nameLength} characters`,
      found: name.length,
    });
  }
}
