import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import { readSafetensors } from '../../lib/checkpoint/safetensors.js';
import { readTorchBin } from '../../lib/checkpoint/torch-bin.js';
import { CheckpointError } from '../../lib/errors.js';
import { readValues } from './values.js';

const FOLDER = join(import.meta.dirname, '..', 'fixtures', 'checkpoint');

interface Expected {
  dtype: string;
  shape: number[];
  values: number[];
}

const expected = JSON.parse(readFileSync(join(FOLDER, 'expected.json'), 'utf8')) as Record<
  string,
  Record<string, Expected>
>;

describe('files of PyTorch and safetensors', () => {
  it.each(Object.keys(expected))('%s: names, dtypes, shapes and values', async (name) => {
    const file = join(FOLDER, name);
    const read = name.endsWith('.bin') ? readTorchBin : readSafetensors;
    const found = Object.fromEntries(
      (await read(file)).map((tensor) => [
        tensor.name,
        { dtype: tensor.dtype, shape: tensor.shape, values: readValues(tensor) },
      ]),
    );
    expect(found).toEqual(expected[name]);
    expect(Object.keys(found).length).toBeGreaterThan(2);
  });

  it('keeps strides and offsets of views, and the bytes they span', async () => {
    const tensors = new Map(
      (await readTorchBin(join(FOLDER, 'views.bin'))).map((t) => [t.name, t]),
    );
    const at = (name: string) => {
      const tensor = tensors.get(name);
      if (tensor === undefined) throw new Error(name);
      return tensor;
    };
    expect(at('transposed')).toMatchObject({ shape: [6, 5], strides: [1, 6], nbytes: 120 });
    expect(at('columns')).toMatchObject({ shape: [5, 3], strides: [6, 1], nbytes: 27 * 4 });
    expect(at('every_other')).toMatchObject({ strides: [2], nbytes: 37 * 4 });
    expect(at('expanded')).toMatchObject({ shape: [3, 6], strides: [0, 1], nbytes: 24 });
    expect(at('empty')).toMatchObject({ shape: [0, 3], nbytes: 0 });
    expect(at('scalar')).toMatchObject({ shape: [], strides: [], nbytes: 4 });
    expect(at('scalar').offset - at('slice').offset).toBe(2 * 4);
  });

  it('joins the shards that the index lists', async () => {
    const checkpoint = await openCheckpoint(FOLDER);
    expect(checkpoint.format).toBe('pytorch');
    expect(checkpoint.files.map((file) => file.slice(FOLDER.length + 1))).toEqual([
      'pytorch_model-00001-of-00002.bin',
      'pytorch_model-00002-of-00002.bin',
    ]);
    expect([...checkpoint.tensors.keys()].sort()).toEqual(
      Object.keys(expected['dtypes.bin'] as object).sort(),
    );
    // Six elements each of 8+4+2+2 bytes of floats, 8+4+2+1 of integers, 1+1 of bytes and flags.
    expect(checkpoint.totalBytes).toBe(6 * 33);
  });

  it('says how to convert a file of PyTorch before 1.6', async () => {
    const error = await readTorchBin(join(FOLDER, 'legacy.bin')).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(CheckpointError);
    expect((error as CheckpointError).message).toMatch(
      /legacy\.bin has the format.*before version 1\.6.*save_file/s,
    );
  });
});
