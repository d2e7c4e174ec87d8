import {
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpoint, requireTensor } from '../../lib/checkpoint/open.js';
import { readTorchBin } from '../../lib/checkpoint/torch-bin.js';
import { AbortError, CheckpointError, FileNotFoundError } from '../../lib/errors.js';
import { skipped } from '../skipped.js';
import { temporaryFolder } from '../temporary-folder.js';
import { safetensorsFile, stateDictPickle, torchFile } from './builders.js';
import { readValues } from './values.js';

const folder = temporaryFolder();
const SHARED = join(import.meta.dirname, '..', '..', '..', 'shared', 'data');

let count = 0;
function model(files: Record<string, Buffer | string | object>): string {
  const path = join(folder.path, `model-${count++}`);
  mkdirSync(path);
  for (const [name, data] of Object.entries(files)) {
    const raw = typeof data === 'string' || Buffer.isBuffer(data);
    writeFileSync(join(path, name), raw ? data : JSON.stringify(data));
  }
  return path;
}

function one(name: string): Buffer {
  return safetensorsFile({ [name]: { dtype: 'F32', shape: [1], data_offsets: [0, 4] } }, 4);
}

function oneBin(name: string): Buffer {
  const spec = { elements: 1, shape: [1], strides: [1] };
  return torchFile(stateDictPickle({ [name]: spec }), [Buffer.alloc(4)]);
}

const shardedIndex = (weight_map: Record<string, unknown>) => ({
  'model.safetensors.index.json': { metadata: { total_size: 8 }, weight_map },
});

async function refusal(dir: string): Promise<Error> {
  return openCheckpoint(dir).then(
    () => expect.fail('the checkpoint was accepted'),
    (e: Error) => e,
  );
}

describe('which files are taken', () => {
  const all = {
    'model.safetensors': one('from model.safetensors'),
    'model-1.safetensors': one('from a safetensors shard'),
    ...shardedIndex({ 'from a safetensors shard': 'model-1.safetensors' }),
    'pytorch_model.bin': oneBin('from pytorch_model.bin'),
    'pytorch_model-1.bin': oneBin('from a .bin shard'),
    'pytorch_model.bin.index.json': { weight_map: { 'from a .bin shard': 'pytorch_model-1.bin' } },
  };
  const order = ['model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin'];
  const names = [
    'from model.safetensors',
    'from a safetensors shard',
    'from pytorch_model.bin',
    'from a .bin shard',
  ];

  it('is the order of transformers', async () => {
    const files: Record<string, Buffer | object> = { ...all };
    for (const [i, name] of names.entries()) {
      const checkpoint = await openCheckpoint(model(files));
      expect([...checkpoint.tensors.keys()]).toEqual([name]);
      expect(checkpoint.format).toBe(i < 2 ? 'safetensors' : 'pytorch');
      delete files[order[i] as string];
    }
  });

  it('can be the .bin files', async () => {
    const checkpoint = await openCheckpoint(model(all), { prefer: 'pytorch' });
    expect([...checkpoint.tensors.keys()]).toEqual(['from pytorch_model.bin']);
    const only = await openCheckpoint(model({ 'model.safetensors': one('w') }), {
      prefer: 'pytorch',
    });
    expect(only.format).toBe('safetensors');
    await expect(openCheckpoint(model(all), { prefer: 'gguf' as never })).rejects.toThrow(/prefer/);
  });

  it('can lie in a subfolder', async () => {
    const dir = model({});
    mkdirSync(join(dir, 'inner'));
    writeFileSync(join(dir, 'inner', 'model.safetensors'), one('w'));
    const checkpoint = await openCheckpoint(dir, { subfolder: 'inner' });
    expect(checkpoint.files).toEqual([join(dir, 'inner', 'model.safetensors')]);
  });

  it('are those behind symbolic links, as in the cache of the Hub', async () => {
    const blobs = model({ abc: one('w'), def: oneBin('v') });
    const dir = model({});
    symlinkSync(join(blobs, 'abc'), join(dir, 'model.safetensors'));
    expect((await openCheckpoint(dir)).tensors.get('w')?.file).toBe(join(dir, 'model.safetensors'));
  });

  it('are named where there are none', async () => {
    const error = await refusal(model({ 'weights.gguf': 'x', 'config.json': '{}' }));
    expect(error).toBeInstanceOf(FileNotFoundError);
    expect(error.message).toMatch(
      /model\.safetensors.*pytorch_model\.bin.*found a GGUF model \(weights\.gguf\).*converted from/,
    );
    expect(await refusal(join(folder.path, 'nowhere'))).toBeInstanceOf(FileNotFoundError);
  });
});

describe('a sharded checkpoint', () => {
  it('is one checkpoint', async () => {
    const dir = model({
      ...shardedIndex({ a: '2.safetensors', b: '1.safetensors' }),
      '1.safetensors': one('b'),
      '2.safetensors': one('a'),
    });
    const checkpoint = await openCheckpoint(dir);
    expect(checkpoint.files).toEqual([join(dir, '1.safetensors'), join(dir, '2.safetensors')]);
    expect(checkpoint.tensors.get('a')?.file).toBe(join(dir, '2.safetensors'));
    expect(checkpoint.totalBytes).toBe(8);
  });

  it('names the shards that are missing', async () => {
    const dir = model({
      ...shardedIndex({ a: '1.safetensors', b: '2.safetensors', c: '3.safetensors' }),
      '1.safetensors': one('a'),
    });
    symlinkSync(join(dir, 'dangling'), join(dir, '3.safetensors'));
    const error = await refusal(dir);
    expect(error).toBeInstanceOf(FileNotFoundError);
    expect(error.message).toMatch(/2 of the checkpoint's 3 files are missing/);
    expect(error.message).toContain('no 2.safetensors, 3.safetensors');
  });

  it('must have each tensor where the index says', async () => {
    const files = { '1.safetensors': one('a'), '2.safetensors': one('b') };
    const nowhere = { a: '1.safetensors', b: '2.safetensors', c: '1.safetensors' };
    expect((await refusal(model({ ...files, ...shardedIndex(nowhere) }))).message).toMatch(
      /Tensor c is not where the index says: expected in 1\.safetensors, found in no file/,
    );
    const swapped = { a: '2.safetensors', b: '1.safetensors' };
    expect((await refusal(model({ ...files, ...shardedIndex(swapped) }))).message).toMatch(
      /Tensor a is not where.*expected in 2\.safetensors, found in .*1\.safetensors/,
    );
  });

  it('must not have a tensor in two shards', async () => {
    const dir = model({
      ...shardedIndex({ a: '1.safetensors', b: '2.safetensors' }),
      '1.safetensors': one('a'),
      '2.safetensors': one('a'),
    });
    expect((await refusal(dir)).message).toMatch(/Tensor a is in two files/);
  });

  it.each([
    '../outside.safetensors',
    '/etc/outside.safetensors',
    'inner/x.safetensors',
    'inner\\x.safetensors',
    'C:x.safetensors',
    '..',
    '',
    'x\u0000.safetensors',
    'x.bin',
    7,
    null,
  ])('may not name the shard %j', async (shard) => {
    const error = await refusal(model(shardedIndex({ a: shard })));
    expect(error).toBeInstanceOf(CheckpointError);
    expect(error.message).toMatch(/Tensor a|tensor a/);
    expect(error.message).toMatch(/plain name/);
  });

  it.each([
    ['not JSON', '{', /not valid JSON/],
    ['a list', '[]', /not a JSON object/],
    ['without a map', '{}', /no weight_map/],
    ['with an empty map', '{"weight_map":{}}', /impossible number/],
    [
      'with a tensor twice',
      '{"weight_map":{"a":"1.safetensors","a":"2.safetensors"}}',
      /"a" twice/,
    ],
  ])('is refused with an index that is %s', async (_, index, message) => {
    const error = await refusal(model({ 'model.safetensors.index.json': index }));
    expect(error).toBeInstanceOf(CheckpointError);
    expect(error.message).toMatch(message);
  });
});

describe('requireTensor', () => {
  it('holds a tensor to its shape', async () => {
    const checkpoint = await openCheckpoint(model({ 'model.safetensors': one('w') }));
    expect(requireTensor(checkpoint, 'w', [1]).nbytes).toBe(4);
    expect(() => requireTensor(checkpoint, 'w', [1, 1])).toThrow(/expected \[1, 1\], found \[1\]/);
    expect(() => requireTensor(checkpoint, 'v', [1])).toThrow(/Tensor v is missing/);
  });
});

describe('resources', () => {
  it('come back: no handle stays open, of good files or bad ones', async () => {
    const descriptors = '/proc/self/fd';
    if (!existsSync(descriptors)) {
      console.log('skipped: this system has no /proc to count open files in');
      return;
    }
    const good = model({ 'model.safetensors': one('w') });
    const bad = model({ 'pytorch_model.bin': oneBin('w').subarray(0, 100) });
    const before = readdirSync(descriptors).length;
    for (let i = 0; i < 20; i++) {
      await openCheckpoint(good);
      await refusal(bad);
    }
    expect(readdirSync(descriptors).length).toBe(before);
  });

  it('do not grow with the weights: 6 GB of safetensors and of zip64', async () => {
    const bytes = 6 * 2 ** 30;
    const header = { w: { dtype: 'F32', shape: [bytes / 4], data_offsets: [0, bytes] } };
    const path = join(model({ 'model.safetensors': safetensorsFile(header) }), 'model.safetensors');
    const start = safetensorsFile(header).length;
    truncateSync(path, start + bytes); // Sparse: takes no space.
    const before = process.memoryUsage();
    const { tensors } = await openCheckpoint(join(path, '..'));
    expect(tensors.get('w')).toMatchObject({ offset: start, nbytes: bytes });

    const zip = bigTorchFile(bytes);
    const [first, second] = await readTorchBin(zip);
    expect(first?.nbytes).toBe(bytes);
    expect(second?.offset).toBeGreaterThan(bytes);
    expect(readValues(second as NonNullable<typeof second>)).toEqual([42]);
    const after = process.memoryUsage();
    const grown = after.arrayBuffers + after.heapUsed - before.arrayBuffers - before.heapUsed;
    expect(grown).toBeLessThan(32 * 2 ** 20);
  });

  it('are not taken after an abort', async () => {
    const dir = model({ 'model.safetensors': one('w') });
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(openCheckpoint(dir, { signal })).rejects.toThrow(AbortError);
  });
});

/** A zip64 archive as PyTorchStreamWriter lays it out, its first storage a hole of `bytes`. */
function bigTorchFile(bytes: number): string {
  const pickle = stateDictPickle({
    first: { elements: bytes / 4, shape: [bytes / 4], strides: [1] },
    second: { key: '1', elements: 1, shape: [1], strides: [1] },
  });
  const value = Buffer.alloc(4);
  value.writeFloatLE(42);
  const entries = [
    { name: 'archive/data.pkl', size: pickle.length, data: pickle },
    { name: 'archive/data/0', size: bytes, data: Buffer.alloc(0) },
    { name: 'archive/data/1', size: 4, data: value },
  ];
  const path = folder.write('big.bin', '');
  const file = openSync(path, 'w');
  const directory: Buffer[] = [];
  let at = 0;
  for (const { name, size, data } of entries) {
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(0x0808, 6);
    local.writeUInt16LE(name.length, 26);
    const central = Buffer.alloc(46 + name.length + 28);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(0x0808, 8);
    for (const field of [20, 24, 42]) central.writeUInt32LE(0xffffffff, field);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt16LE(28, 30);
    central.write(name, 46);
    central.writeUInt16LE(1, 46 + name.length);
    central.writeUInt16LE(24, 48 + name.length);
    for (const [i, field] of [size, size, at].entries()) {
      central.writeBigUInt64LE(BigInt(field), 50 + name.length + 8 * i);
    }
    directory.push(central);
    writeSync(file, Buffer.concat([local, Buffer.from(name), data]), 0, undefined, at);
    at += 30 + name.length + size;
  }
  const central = Buffer.concat(directory);
  const end = Buffer.alloc(56 + 20 + 22, 0);
  end.writeUInt32LE(0x06064b50, 0);
  end.writeBigUInt64LE(BigInt(entries.length), 32);
  end.writeBigUInt64LE(BigInt(central.length), 40);
  end.writeBigUInt64LE(BigInt(at), 48);
  end.writeUInt32LE(0x07064b50, 56);
  end.writeBigUInt64LE(BigInt(at + central.length), 64);
  end.writeUInt32LE(0x06054b50, 76);
  end.writeUInt16LE(entries.length, 86);
  end.writeUInt32LE(central.length, 88);
  end.writeUInt32LE(0xffffffff, 92);
  writeSync(file, Buffer.concat([central, end]), 0, undefined, at);
  return path;
}

describe('published files', () => {
  const stories = join(SHARED, 'stories260k-hf');
  it.skipIf(skipped(!existsSync(stories), `${stories} is not part of this repository`))(
    'stories260k is the same as safetensors and as .bin (needs ../shared)',
    async () => {
      const safetensors = await openCheckpoint(stories);
      const bin = await openCheckpoint(`${stories}-bin`);
      expect([safetensors.format, bin.format]).toEqual(['safetensors', 'pytorch']);
      for (const [name, tensor] of safetensors.tensors) {
        const other = bin.tensors.get(name);
        if (other === undefined) expect(name).toMatch(/rotary_emb/);
        else expect(readValues(other)).toEqual(readValues(tensor));
      }
      expect(requireTensor(bin, 'lm_head.weight', [512, 64]).dtype).toBe('float16');
    },
  );

  const views = join(SHARED, 'edge', 'views-shared-storage.bin');
  it.skipIf(skipped(!existsSync(views), `${views} is not part of this repository`))(
    'views of larger storages stay within them (needs ../shared)',
    async () => {
      const tensors = new Map((await readTorchBin(views)).map((t) => [t.name, t]));
      const k = tensors.get('model.layers.1.self_attn.k_proj.weight');
      const v = tensors.get('model.layers.1.self_attn.v_proj.weight');
      // [rows before | these 32 rows | rows behind] of one 160 x 64 storage.
      expect(v).toMatchObject({ shape: [32, 64], strides: [64, 1], nbytes: 32 * 64 * 4 });
      expect(k?.file).toBe(views);
      const values = readValues(v as NonNullable<typeof v>);
      expect(values.every((x) => Number.isFinite(x) && Math.abs(x) < 10)).toBe(true);
      expect(new Set(values).size).toBeGreaterThan(1000);
    },
  );
  for (const file of [stories, views]) {
    if (!existsSync(file)) console.log(`skipped: a case that needs ${file}, which is not there`);
  }
});
