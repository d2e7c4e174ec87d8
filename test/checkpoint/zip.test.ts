import { describe, expect, it } from 'vitest';
import { withFile } from '../../lib/bounded-file.js';
import { readZip } from '../../lib/checkpoint/zip.js';
import { CheckpointError } from '../../lib/errors.js';
import { temporaryFolder } from '../temporary-folder.js';
import { type ZipFileEntry, zip64End, zipEnd, zipFile } from './builders.js';

const folder = temporaryFolder();
const read = (bytes: Buffer) => withFile(folder.write('archive.zip', bytes), readZip);
const entry = (name: string, text: string, more: Partial<ZipFileEntry> = {}) => ({
  name,
  data: Buffer.from(text),
  ...more,
});

describe('a zip archive of stored entries', () => {
  const good = zipFile([entry('a', 'first'), entry('b/c', '')]);

  it('becomes byte ranges', async () => {
    const entries = await read(good);
    expect([...entries.values()]).toEqual([
      { name: 'a', offset: 31, size: 5 },
      { name: 'b/c', offset: 69, size: 0 },
    ]);
    expect(good.subarray(31, 36).toString()).toBe('first');
  });

  it('may have a comment, also one that looks like an end record', async () => {
    const comment = zipEnd(0, 0, 0);
    const withComment = Buffer.concat([good, comment]);
    withComment.writeUInt16LE(comment.length, good.length - 2);
    // The last end record counts, and its directory would be empty and elsewhere.
    await expect(read(withComment)).rejects.toThrow(/does not end where its end record begins/);
    const harmless = Buffer.concat([good, Buffer.from('made by hand')]);
    harmless.writeUInt16LE(12, good.length - 2);
    expect((await read(harmless)).size).toBe(2);
  });

  it('may write its sizes after the data, as torch.save does', async () => {
    const entries = await read(zipFile([entry('a', 'first', { flags: 0x8, localSize: 0 })]));
    expect(entries.get('a')).toMatchObject({ size: 5 });
  });

  it('may be zip64, with sizes in the extra fields', async () => {
    const name = Buffer.from('a');
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt32LE(0xffffffff, 18);
    local.writeUInt32LE(0xffffffff, 22);
    local.writeUInt16LE(1, 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    for (const at of [20, 24, 42]) central.writeUInt32LE(0xffffffff, at);
    central.writeUInt16LE(1, 28);
    central.writeUInt16LE(4 + 2 + 28, 30);
    const extra = Buffer.alloc(4 + 2 + 28);
    extra.writeUInt16LE(0x4246, 0); // A field of another kind in front.
    extra.writeUInt16LE(2, 2);
    extra.writeUInt16LE(0x0001, 6);
    extra.writeUInt16LE(24, 8);
    extra.writeBigUInt64LE(5n, 10);
    extra.writeBigUInt64LE(5n, 18);
    const body = Buffer.concat([local, name, Buffer.from('first')]);
    const directory = Buffer.concat([central, name, extra]);
    const end = zipEnd(0xffff, 0xffffffff, 0xffffffff);
    const archive = (size: bigint) => {
      extra.writeBigUInt64LE(size, 10);
      const bytes = Buffer.concat([central, name, extra]);
      return Buffer.concat([body, bytes, zip64End(1, directory.length, body.length), end]);
    };
    expect((await read(archive(5n))).get('a')).toEqual({ name: 'a', offset: 31, size: 5 });
    await expect(read(archive(6n))).rejects.toThrow(/another size/);
    await expect(read(archive(2n ** 63n))).rejects.toThrow(/64-bit size/);
  });
});

describe('a zip archive is refused', () => {
  const good = zipFile([entry('a', 'first'), entry('b', 'second')]);
  const patched = (patch: (bytes: Buffer) => void) => {
    const bytes = Buffer.from(good);
    patch(bytes);
    return bytes;
  };
  const endAt = good.length - 22;
  const directoryAt = good.readUInt32LE(endAt + 16);
  const cases: [string, Buffer, RegExp][] = [
    ['when cut off', good.subarray(0, -1), /no end record/],
    ['when shorter than an end record', good.subarray(0, 10), /no end record/],
    [
      'with a compressed entry',
      zipFile([entry('bomb', 'x', { method: 8, size: 2 ** 30 })]),
      /bomb is compressed.*stored.*method 8/,
    ],
    ['with an encrypted entry', zipFile([entry('a', 'x', { flags: 1 })]), /encrypted/],
    [
      'with a stored size that differs',
      zipFile([entry('a', 'x', { storedSize: 2 })]),
      /another size/,
    ],
    ['with a name twice', zipFile([entry('a', 'x'), entry('a', 'y')]), /a twice/],
    [
      'with two entries over the same bytes',
      zipFile([entry('a', 'x'), entry('b', 'y', { headerOffset: 0, localName: 'b' })]),
      /overlaps/,
    ],
    [
      'with an entry that reaches into the next',
      zipFile([
        entry('a', 'x', { size: 20, localSize: 20 }),
        entry('b', 'a longer text than twenty'),
      ]),
      /b overlaps/,
    ],
    [
      'with an entry that reaches into the directory',
      zipFile([entry('a', 'x', { size: 2, localSize: 2 })]),
      /beyond the end of the data/,
    ],
    [
      'with another name in the local header',
      zipFile([entry('a', 'x', { localName: 'b' })]),
      /contradicts the directory/,
    ],
    [
      'with another size in the local header',
      zipFile([entry('a', 'x', { localSize: 9 })]),
      /contradicts the directory/,
    ],
    [
      'with a local header outside',
      zipFile([entry('a', 'x', { headerOffset: 2 ** 31 })]),
      /outside of the archive/,
    ],
    [
      'with no local header',
      zipFile([entry('a', 'xxxxxxxxxx', { headerOffset: 1 })]),
      /no local header/,
    ],
    [
      'with a count that is too large',
      patched((b) => b.writeUInt16LE(3, endAt + 10)),
      /as many entries/,
    ],
    [
      'with a directory that is too short',
      patched((b) => b.writeUInt32LE(directoryAt + 1, endAt + 16)),
      /does not end where/,
    ],
    ['with junk in the directory', patched((b) => b.writeUInt32LE(0, directoryAt)), /no entry/],
    [
      'with a name longer than the directory',
      patched((b) => b.writeUInt16LE(9999, directoryAt + 28)),
      /middle of an entry/,
    ],
    [
      'with a sentinel and no zip64 field',
      patched((b) => b.writeUInt32LE(0xffffffff, directoryAt + 24)),
      /zip64 extra field/,
    ],
    [
      'when split over several files',
      patched((b) => b.writeUInt16LE(1, endAt + 4)),
      /split over several/,
    ],
    [
      'with end records that contradict',
      Buffer.concat([
        good.subarray(0, endAt),
        zip64End(2, endAt - directoryAt, directoryAt),
        zipEnd(1, endAt - directoryAt, directoryAt),
      ]),
      /contradict each other/,
    ],
    [
      'with a zip64 record outside',
      Buffer.concat([good.subarray(0, endAt), zip64End(2, 2 ** 50, 0), good.subarray(endAt)]),
      /outside of the archive/,
    ],
    [
      'with 2^40 entries',
      Buffer.concat([
        good.subarray(0, endAt),
        zip64End(2 ** 40, endAt - directoryAt, directoryAt),
        zipEnd(0xffff, 0xffffffff, 0xffffffff),
      ]),
      /directory is too large/,
    ],
  ];
  it.each(cases)('%s', async (_, bytes, message) => {
    const error = await read(bytes).then(
      () => expect.fail('the archive was accepted'),
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(CheckpointError);
    expect((error as CheckpointError).message).toMatch(message);
  });
});
