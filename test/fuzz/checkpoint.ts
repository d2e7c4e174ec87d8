import { statSync } from 'node:fs';
import { type Checkpoint, DTYPE_BYTES } from '../../lib/checkpoint/types.js';

/** Throws where a tensor of an opened checkpoint reaches out of its file. */
export function requireInside({ tensors }: Checkpoint): void {
  for (const [name, { shape, strides, offset, nbytes, dtype, file }] of tensors) {
    let last = 0;
    for (const [i, size] of shape.entries())
      last += Math.max(0, size - 1) * (strides[i] ?? Number.NaN);
    const span = shape.includes(0) ? 0 : (last + 1) * DTYPE_BYTES[dtype];
    const inside = offset >= 0 && span >= 0 && offset + span <= statSync(file).size;
    if (!inside || span !== nbytes || strides.length !== shape.length) {
      throw new Error(`Tensor ${name} was accepted at ${offset} with ${nbytes} bytes of ${file}`);
    }
  }
}
