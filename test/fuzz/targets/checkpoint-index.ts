import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { openCheckpoint } from '../../../lib/checkpoint/open.js';
import { requireInside } from '../checkpoint.js';
import { mutateJsonFile } from '../json-file.js';
import type { FuzzTarget } from '../target.js';

const FIXTURES = 'test/fixtures/checkpoint';
const BIN_INDEX = 'pytorch_model.bin.index.json';

/** A safetensors file of one tensor, which is empty. */
function shard(name: string): Buffer {
  const header = Buffer.from(
    JSON.stringify({ [name]: { dtype: 'F32', shape: [0], data_offsets: [0, 0] } }),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header]);
}

/** The index of a checkpoint in several files, of either format: an input that names a .bin file is one of PyTorch's. */
export const target: FuzzTarget = {
  name: 'checkpoint-index',
  sources: ['lib/checkpoint/index-json.ts', 'lib/checkpoint/open.ts'],
  minimumCoverage: 68,
  seeds: () => [
    readFileSync(path.join(FIXTURES, BIN_INDEX)),
    Buffer.from(
      JSON.stringify({
        metadata: { total_size: 0 },
        weight_map: { a: 'model-1.safetensors', b: 'model-2.safetensors' },
      }),
    ),
    Buffer.from(JSON.stringify({ weight_map: { a: 'model-1.safetensors' } })),
    Buffer.from(
      JSON.stringify({ weight_map: { a: 'model-1.safetensors', c: 'empty.safetensors' } }),
    ),
  ],
  mutate: mutateJsonFile,
  async run(input, folder) {
    if (Buffer.from(input).includes('.bin')) {
      for (const name of ['pytorch_model-00001-of-00002.bin', 'pytorch_model-00002-of-00002.bin']) {
        copyFileSync(path.join(FIXTURES, name), path.join(folder, name));
      }
      writeFileSync(path.join(folder, BIN_INDEX), input);
    } else {
      writeFileSync(path.join(folder, 'model-1.safetensors'), shard('a'));
      writeFileSync(path.join(folder, 'model-2.safetensors'), shard('b'));
      writeFileSync(path.join(folder, 'empty.safetensors'), Buffer.from('\x02\0\0\0\0\0\0\0{}'));
      writeFileSync(path.join(folder, 'model.safetensors.index.json'), input);
    }
    requireInside(await openCheckpoint(folder));
  },
  planted: {
    file: 'lib/checkpoint/index-json.ts',
    find: "typeof shard !== 'string' || !isPlainFileName(shard) || !shard.endsWith(extension)",
    replace: '!isPlainFileName(shard as string) || !(shard as string).endsWith(extension)',
  },
};
