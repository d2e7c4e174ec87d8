import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { openCheckpoint } from '../../../lib/checkpoint/open.js';
import { requireInside } from '../checkpoint.js';
import { mutateJsonFile } from '../json-file.js';
import { damage, type Random } from '../random.js';
import type { FuzzTarget } from '../target.js';

/** A file of this header, whose length is put before it. */
function file(header: Uint8Array, data: Uint8Array): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, data]);
}

function seed(header: object, bytes: number): Buffer {
  return file(Buffer.from(JSON.stringify(header)), Buffer.alloc(bytes));
}

/** Tensors laid out anew, so that what is changed about one of them is not refused for its offsets. */
function relay(header: Buffer, random: Random): [Buffer, number] {
  let tensors: Record<string, { data_offsets?: number[] }>;
  try {
    tensors = JSON.parse(header.toString());
  } catch {
    return [header, 0];
  }
  // The mutations before may have left anything at all.
  if (typeof tensors !== 'object' || tensors === null) return [header, 0];
  let end = 0;
  for (const entry of Object.values(tensors)) {
    if (!Array.isArray(entry?.data_offsets)) continue;
    const bytes = random.pick([0, 1, 2, 4, 8, 16, 24]);
    entry.data_offsets = [end, end + bytes];
    end += bytes;
  }
  return [Buffer.from(JSON.stringify(tensors)), end];
}

/** One safetensors file as a checkpoint. */
export const target: FuzzTarget = {
  name: 'safetensors',
  sources: [
    'lib/checkpoint/safetensors.ts',
    'lib/checkpoint/shape.ts',
    'lib/bounded-json.ts',
    'lib/bounded-file.ts',
  ],
  minimumCoverage: 81,
  seeds: () => [
    readFileSync('test/fixtures/checkpoint/dtypes.safetensors'),
    seed(
      { __metadata__: { format: 'pt' }, a: { dtype: 'F32', shape: [2, 1], data_offsets: [0, 8] } },
      8,
    ),
    seed(
      {
        a: { dtype: 'F16', shape: [], data_offsets: [0, 2] },
        b: { dtype: 'BF16', shape: [0, 3], data_offsets: [2, 2] },
        c: { dtype: 'I64', shape: [1], data_offsets: [2, 10] },
      },
      10,
    ),
    Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n'),
    Buffer.from('GGUF\u0003\u0000\u0000\u0000'),
    Buffer.from('<!DOCTYPE html><html></html>'),
  ],
  mutate(input, random) {
    const bytes = Buffer.from(input);
    const length = bytes.length < 8 ? 0 : Number(bytes.readBigUInt64LE(0) % 2n ** 32n);
    if (length === 0 || 8 + length > bytes.length || random.chance(0.1))
      return damage(input, random);
    const header = bytes.subarray(8, 8 + length);
    const data = bytes.subarray(8 + length);
    if (random.chance(0.1)) return file(header, Buffer.alloc(random.below(2 * data.length + 2)));
    if (random.chance(0.1)) {
      const [laid, end] = relay(header, random);
      return file(laid, Buffer.alloc(end));
    }
    return file(mutateJsonFile(header, random), data);
  },
  async run(input, folder) {
    writeFileSync(path.join(folder, 'model.safetensors'), input);
    requireInside(await openCheckpoint(folder));
  },
  planted: {
    file: 'lib/checkpoint/safetensors.ts',
    find: '!Array.isArray(shape) || shape.length > LIMITS.rank',
    replace: '(shape as []).length > LIMITS.rank',
  },
};
