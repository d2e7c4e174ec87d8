import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import { AutoModelForCausalLM, AutoTokenizer } from '../../lib/index.js';
import {
  safetensorsFile,
  stateDictPickle,
  type TensorSpec,
  torchFile,
} from '../checkpoint/builders.js';
import { temporaryFolder } from '../temporary-folder.js';

const root = path.resolve(import.meta.dirname, '../..');
const shared = path.resolve(root, '../shared/data');

const STORAGE = { float32: 'FloatStorage', float16: 'HalfStorage', bfloat16: 'BFloat16Storage' };
const SAFE = { float32: 'F32', float16: 'F16', bfloat16: 'BF16' };
type DType = keyof typeof STORAGE;

interface Piece {
  name: string;
  dtype: DType;
  shape: number[];
  bytes: Buffer;
}

async function readPieces(folder: string): Promise<Piece[]> {
  const { tensors } = await openCheckpoint(folder);
  return [...tensors.values()].map(({ name, dtype, shape, file, offset, nbytes }) => ({
    name,
    dtype: dtype as DType,
    shape,
    bytes: readFileSync(file).subarray(offset, offset + nbytes),
  }));
}

function torchShard(pieces: Piece[]): Buffer {
  const specs: Record<string, TensorSpec> = {};
  pieces.forEach(({ name, dtype, shape }, i) => {
    specs[name] = {
      key: String(i),
      type: STORAGE[dtype],
      elements: shape.reduce((a, b) => a * b, 1),
      shape,
      strides: shape.map((_, d) => shape.slice(d + 1).reduce((a, b) => a * b, 1)),
    };
  });
  return torchFile(
    stateDictPickle(specs),
    pieces.map((p) => p.bytes),
  );
}

function safetensorsShard(pieces: Piece[]): Buffer {
  let at = 0;
  const header: Record<string, unknown> = {};
  for (const { name, dtype, shape, bytes } of pieces) {
    header[name] = { dtype: SAFE[dtype], shape, data_offsets: [at, at + bytes.length] };
    at += bytes.length;
  }
  return Buffer.concat([safetensorsFile(header), ...pieces.map((p) => p.bytes)]);
}

/** The same model once more, in three shards of the given format. */
async function reshard(source: string, format: 'bin' | 'safetensors'): Promise<string> {
  const pieces = await readPieces(source);
  const folder = temporaryFolder();
  const weight_map: Record<string, string> = {};
  const [stem, shard] =
    format === 'bin'
      ? (['pytorch_model', torchShard] as const)
      : (['model', safetensorsShard] as const);
  for (let i = 0; i < 3; i++) {
    const part = pieces.filter((_, n) => n % 3 === i);
    const file = `${stem}-0000${i + 1}-of-00003.${format}`;
    folder.write(file, shard(part));
    for (const { name } of part) weight_map[name] = file;
  }
  folder.write(`${stem}.${format}.index.json`, JSON.stringify({ metadata: {}, weight_map }));
  for (const file of ['config.json', 'generation_config.json']) {
    copyFileSync(path.join(source, file), path.join(folder.path, file));
  }
  return folder.path;
}

async function answer(folder: string): Promise<unknown> {
  const model = await AutoModelForCausalLM.from_pretrained(folder, { device_map: 'cpu' });
  try {
    const input_ids = [[1, 300, 301, 302]];
    return (await model.generate({ input_ids, do_sample: false, max_new_tokens: 50 })).tolist();
  } finally {
    await model.dispose();
  }
}

describe('one model in every format gives one sequence', () => {
  const tiny = path.join(root, 'models/komt-tiny');
  it.each(['bin', 'safetensors'] as const)('sharded .%s', async (format) => {
    expect(await answer(await reshard(tiny, format))).toEqual(await answer(tiny));
  });

  const stories = path.join(shared, 'stories260k-hf');
  const there = existsSync(stories);
  if (!there) console.warn('skipped: stories260k as .bin, which is not part of this repository');
  it.runIf(there)(
    'stories260k: safetensors, .bin with a bare tokenizer.model, sharded .bin',
    async () => {
      const expected = await answer(stories);
      expect(await answer(`${stories}-bin`)).toEqual(expected);
      expect(await answer(await reshard(`${stories}-bin`, 'bin'))).toEqual(expected);
      const text = 'Once upon a time, there was a little girl named Lily.';
      const [json, bare] = await Promise.all(
        [stories, `${stories}-bin`].map((folder) => AutoTokenizer.from_pretrained(folder)),
      );
      expect(bare?.encode(text)).toEqual(json?.encode(text));
    },
  );
});
