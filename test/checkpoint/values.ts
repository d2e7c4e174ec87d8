import { closeSync, openSync, readSync } from 'node:fs';
import type { TensorEntry } from '../../lib/checkpoint/types.js';
import { DTYPE_BYTES } from '../../lib/checkpoint/types.js';

function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function bfloat(bits: number): number {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt16LE(bits, 2);
  return bytes.readFloatLE(0);
}

function readElement(bytes: Buffer, at: number, dtype: TensorEntry['dtype']): number {
  switch (dtype) {
    case 'float64':
      return bytes.readDoubleLE(at);
    case 'float32':
      return bytes.readFloatLE(at);
    case 'float16':
      return half(bytes.readUInt16LE(at));
    case 'bfloat16':
      return bfloat(bytes.readUInt16LE(at));
    case 'int64':
      return Number(bytes.readBigInt64LE(at));
    case 'int32':
      return bytes.readInt32LE(at);
    case 'int16':
      return bytes.readInt16LE(at);
    case 'int8':
      return bytes.readInt8(at);
    case 'uint8':
    case 'bool':
      return bytes.readUInt8(at);
    default:
      throw new Error(`no decoder for ${dtype}`);
  }
}

/** Values of a tensor in row-major order, read from the byte range that the entry describes. */
export function readValues(tensor: TensorEntry): number[] {
  const bytes = Buffer.alloc(tensor.nbytes);
  const file = openSync(tensor.file, 'r');
  readSync(file, bytes, 0, tensor.nbytes, tensor.offset);
  closeSync(file);
  const values: number[] = [];
  const visit = (dimension: number, element: number): void => {
    if (dimension === tensor.shape.length) {
      values.push(readElement(bytes, element * DTYPE_BYTES[tensor.dtype], tensor.dtype));
      return;
    }
    for (let i = 0; i < (tensor.shape[dimension] as number); i++) {
      visit(dimension + 1, element + i * (tensor.strides[dimension] as number));
    }
  };
  visit(0, 0);
  return values;
}
