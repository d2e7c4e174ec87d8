import { describe, expect, it } from 'vitest';
import { readSafetensors } from '../../lib/checkpoint/safetensors.js';
import { CheckpointError, FileNotFoundError } from '../../lib/errors.js';
import { temporaryFolder } from '../temporary-folder.js';
import { safetensorsFile } from './builders.js';

const folder = temporaryFolder();
const F32 = (shape: number[], ...data_offsets: number[]) => ({ dtype: 'F32', shape, data_offsets });

async function refusal(file: Buffer): Promise<CheckpointError> {
  const path = folder.write('damaged.safetensors', file);
  const error = await readSafetensors(path).then(
    () => expect.fail('the file was accepted'),
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(CheckpointError);
  expect((error as CheckpointError).file).toBe(path);
  return error as CheckpointError;
}

describe('a well-formed safetensors file', () => {
  it('becomes absolute byte ranges', async () => {
    const file = safetensorsFile(
      { __metadata__: { format: 'pt' }, b: F32([2, 3], 4, 28), a: F32([], 0, 4) },
      28,
    );
    const path = folder.write('good.safetensors', file);
    const start = file.length - 28;
    expect(await readSafetensors(path)).toEqual([
      {
        name: 'b',
        dtype: 'float32',
        shape: [2, 3],
        strides: [3, 1],
        file: path,
        offset: start + 4,
        nbytes: 24,
      },
      { name: 'a', dtype: 'float32', shape: [], strides: [], file: path, offset: start, nbytes: 4 },
    ]);
  });

  it('may have no tensors, empty tensors, and spaces after its header', async () => {
    expect(
      await readSafetensors(folder.write('none.safetensors', safetensorsFile('{}  '))),
    ).toEqual([]);
    const empty = safetensorsFile(
      { a: F32([0, 7], 0, 0), b: F32([1], 0, 4), c: F32([0], 4, 4) },
      4,
    );
    const tensors = await readSafetensors(folder.write('empty.safetensors', empty));
    expect(tensors.map(({ nbytes }) => nbytes)).toEqual([0, 4, 0]);
  });

  it('may call a tensor like a property of every object', async () => {
    const header = '{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}';
    const path = folder.write('proto.safetensors', safetensorsFile(header, 1));
    expect((await readSafetensors(path)).map(({ name }) => name)).toEqual(['__proto__']);
  });
});

describe('a safetensors file is refused', () => {
  const good = safetensorsFile({ a: F32([4], 0, 16) }, 16);
  const length = (n: bigint) => {
    const bytes = Buffer.alloc(16, 0x20);
    bytes.writeBigUInt64LE(n);
    return bytes;
  };
  const notUtf8 = Buffer.from('{"\xff\xfe": 1}', 'latin1');

  const cases: [string, Buffer, RegExp][] = [
    ['when empty', Buffer.alloc(0), /too short/],
    ['when shorter than 8 bytes', Buffer.alloc(7), /too short.*at least 8 bytes.*7 bytes/],
    ['when cut off within its header', good.subarray(0, 20), /beyond the end of the file/],
    ['when cut off within its data', good.subarray(0, -1), /16 bytes of data.*found 15.*cut off/],
    ['with bytes after its data', Buffer.concat([good, Buffer.of(0)]), /Bytes were appended/],
    ['with a header of 2^64 - 1 bytes', length(2n ** 64n - 1n), /longer than a model needs/],
    ['with a header of 16 MiB and one byte', length(2n ** 24n + 1n), /longer than a model needs/],
    ['with a header longer than itself', length(9n), /beyond the end/],
    ['with a header that is not UTF-8', safetensorsFile(notUtf8), /not valid UTF-8/],
    ['with a header that begins with a space', safetensorsFile(' {}'), /does not begin with \{/],
    ['with a byte order mark', safetensorsFile('\ufeff{}'), /does not begin with \{/],
    ['with a list for a header', safetensorsFile('[]'), /does not begin with \{/],
    ['with broken JSON', safetensorsFile('{"a":'), /not valid JSON/],
    [
      'with a name twice',
      safetensorsFile(
        `{"a":${JSON.stringify(F32([1], 0, 4))},"a":${JSON.stringify(F32([1], 0, 4))}}`,
        4,
      ),
      /"a" twice/,
    ],
    [
      'with a name twice, once escaped',
      safetensorsFile(
        `{"a":${JSON.stringify(F32([1], 0, 4))},"\\u0061":${JSON.stringify(F32([1], 0, 4))}}`,
        4,
      ),
      /"a" twice/,
    ],
    [
      'with a field twice',
      safetensorsFile('{"a":{"dtype":"U8","shape":[2],"shape":[1],"data_offsets":[0,1]}}', 1),
      /"shape" twice/,
    ],
    ['with metadata that is no object', safetensorsFile({ __metadata__: 'pt' }), /__metadata__/],
    [
      'with metadata that is no string',
      safetensorsFile({ __metadata__: { a: 1 } }),
      /__metadata__/,
    ],
    ['with an entry that is no object', safetensorsFile({ a: 1 }), /Tensor a.*entry/],
    [
      'with an unknown dtype',
      safetensorsFile({ a: { ...F32([1], 0, 4), dtype: 'F31' } }, 4),
      /dtype.*F32.*found F31/,
    ],
    [
      'with the dtype "constructor"',
      safetensorsFile({ a: { ...F32([1], 0, 4), dtype: 'constructor' } }, 4),
      /dtype/,
    ],
    ['with a negative dimension', safetensorsFile({ a: F32([-1, -1], 0, 4) }, 4), /shape/],
    ['with a fractional dimension', safetensorsFile({ a: F32([0.5, 2], 0, 4) }, 4), /shape/],
    [
      'with a dimension of 2^53',
      safetensorsFile('{"a":{"dtype":"U8","shape":[9007199254740992],"data_offsets":[0,1]}}', 1),
      /shape/,
    ],
    ['with 17 dimensions', safetensorsFile({ a: F32(Array(17).fill(1), 0, 4) }, 4), /shape/],
    [
      'with a name of 1025 characters',
      safetensorsFile({ ['n'.repeat(1025)]: F32([1], 0, 4) }, 4),
      /impossible length/,
    ],
    ['with an empty name', safetensorsFile({ '': F32([1], 0, 4) }, 4), /impossible length/],
    ['with three offsets', safetensorsFile({ a: F32([1], 0, 4, 4) }, 4), /data_offsets/],
    ['with a negative offset', safetensorsFile({ a: F32([1], -4, 0) }, 4), /data_offsets/],
    [
      'with an end before its begin',
      safetensorsFile({ a: F32([1], 4, 0) }, 4),
      /not before its begin/,
    ],
    [
      'with a shape that lies',
      safetensorsFile({ a: F32([5], 0, 16) }, 16),
      /does not fill its byte range.*20 bytes.*16 bytes/,
    ],
    [
      'with a product of 2^64, which wraps to 0',
      safetensorsFile({ a: F32([2 ** 32, 2 ** 32], 0, 0) }),
      /overflows/,
    ],
    [
      'with a product of 2^64 + 4 in float rounding',
      safetensorsFile({ a: F32([2 ** 52, 2 ** 12, 1], 0, 4) }, 4),
      /overflows/,
    ],
    [
      'with an overflow before a 0',
      safetensorsFile({ a: F32([2 ** 40, 2 ** 40, 0], 0, 0) }),
      /overflows/,
    ],
    [
      'with a byte count above 2^53',
      safetensorsFile({ a: F32([2 ** 52], 0, 4) }, 4),
      /more than 2\^53/,
    ],
    [
      'with overlapping tensors',
      safetensorsFile({ a: F32([2], 0, 8), b: F32([2], 4, 12) }, 12),
      /b overlaps a/,
    ],
    [
      'with a tensor within another',
      safetensorsFile({ a: F32([4], 0, 16), b: F32([1], 4, 8) }, 16),
      /b overlaps a/,
    ],
    [
      'with two tensors in one place',
      safetensorsFile({ a: F32([1], 0, 4), b: F32([1], 0, 4) }, 4),
      /b overlaps a/,
    ],
    [
      'with a gap in front',
      safetensorsFile({ a: F32([1], 4, 8) }, 8),
      /a leaves a gap after the start/,
    ],
    [
      'with a gap between',
      safetensorsFile({ a: F32([1], 0, 4), b: F32([1], 8, 12) }, 12),
      /b leaves a gap after a/,
    ],
    [
      'with offsets beyond its end',
      safetensorsFile({ a: F32([2 ** 40], 0, 2 ** 42) }, 4),
      /4398046511104 bytes of data.*found 4/,
    ],
    [
      'when it is a Git LFS pointer',
      Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:00\n'),
      /Git LFS pointer.*git lfs pull/,
    ],
    [
      'when it is a web page',
      Buffer.from('<!DOCTYPE html><html><body>Sign in</body></html>'),
      /web page/,
    ],
  ];
  it.each(cases)('%s', async (_, file, message) => {
    expect((await refusal(file)).message).toMatch(message);
  });

  it('names the tensor, what was expected and what was found', async () => {
    const error = await refusal(safetensorsFile({ 'model.norm': F32([5], 0, 16) }, 16));
    expect(error).toMatchObject({
      code: 'ERR_CHECKPOINT',
      subject: 'model.norm',
      expected: '20 bytes for F32 [5]',
      found: '16 bytes',
    });
    expect(error.remedy).toMatch(/download it again/);
  });

  it('when it is not there, or no file', async () => {
    const missing = `${folder.path}/missing.safetensors`;
    await expect(readSafetensors(missing)).rejects.toThrow(FileNotFoundError);
    await expect(readSafetensors(folder.path)).rejects.toThrow(/not a regular file/);
  });
});
