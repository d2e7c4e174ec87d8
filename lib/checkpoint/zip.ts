import { decodeUtf8, type RangeReader } from '../bounded-file.js';
import { CheckpointError } from '../errors.js';
import { TimeSlice } from '../time-slice.js';
import { LIMITS } from './types.js';

/** A stored (not compressed) entry of a zip archive: a byte range of the file. */
export interface ZipEntry {
  name: string;
  /** Byte offset of its first byte in the file. */
  offset: number;
  /** Bytes. */
  size: number;
}

// Signatures and fixed lengths of APPNOTE.TXT 6.3, sections 4.3.7 to 4.3.16.
const LOCAL_HEADER = 0x04034b50;
const LOCAL_HEADER_BYTES = 30;
const CENTRAL_HEADER = 0x02014b50;
const CENTRAL_HEADER_BYTES = 46;
const END = 0x06054b50;
const END_BYTES = 22;
const ZIP64_END = 0x06064b50;
const ZIP64_END_BYTES = 56;
const ZIP64_LOCATOR = 0x07064b50;
const ZIP64_LOCATOR_BYTES = 20;
const ZIP64_EXTRA = 0x0001;
const MAX_COMMENT_BYTES = 0xffff;
const HEADER_BLOCK_BYTES = 4096;

const FLAG_ENCRYPTED = 0x0001;
const FLAG_SIZES_FOLLOW = 0x0008;

const NONE_16 = 0xffff;
const NONE_32 = 0xffffffff;

function fail(file: string, message: string, expected?: unknown, found?: unknown): never {
  throw new CheckpointError(message, {
    file,
    expected,
    found,
    remedy: 'The file is damaged or not what torch.save writes; download it again.',
  });
}

function readSize64(buffer: Buffer, at: number, file: string): number {
  const value = buffer.readBigUInt64LE(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
    fail(file, 'A 64-bit size in the zip archive is impossible', 'less than 2^53', value);
  }
  return Number(value);
}

interface Directory {
  entries: number;
  offset: number;
  size: number;
}

/** The 64-bit end record, whose locator stands right before the 32-bit one; undefined if there is none. */
async function readZip64End(reader: RangeReader, endAt: number): Promise<Directory | undefined> {
  const { path: file } = reader;
  if (endAt < ZIP64_LOCATOR_BYTES) return undefined;
  const locator = await reader.read(endAt - ZIP64_LOCATOR_BYTES, ZIP64_LOCATOR_BYTES);
  if (locator.readUInt32LE(0) !== ZIP64_LOCATOR) return undefined;
  const at = readSize64(locator, 8, file);
  if (at + ZIP64_END_BYTES > endAt - ZIP64_LOCATOR_BYTES) {
    fail(file, 'The zip64 end record lies outside of the archive');
  }
  const record = await reader.read(at, ZIP64_END_BYTES);
  if (record.readUInt32LE(0) !== ZIP64_END) fail(file, 'The zip64 end record is missing');
  if (record.readUInt32LE(16) !== 0 || record.readUInt32LE(20) !== 0) {
    fail(file, 'The zip archive is split over several files');
  }
  const directory = {
    entries: readSize64(record, 32, file),
    size: readSize64(record, 40, file),
    offset: readSize64(record, 48, file),
  };
  if (directory.offset + directory.size !== at) {
    fail(file, 'The zip directory does not end where its end record begins');
  }
  return directory;
}

/** Finds the directory: the last end record whose comment reaches exactly to the end of the file. */
async function readEnd(reader: RangeReader): Promise<Directory> {
  const { path: file, size } = reader;
  const tailBytes = Math.min(size, END_BYTES + MAX_COMMENT_BYTES);
  const tail = await reader.read(size - tailBytes, tailBytes);
  let at = tail.length - END_BYTES;
  while (
    at >= 0 &&
    !(tail.readUInt32LE(at) === END && at + END_BYTES + tail.readUInt16LE(at + 20) === tail.length)
  ) {
    at--;
  }
  if (at < 0) fail(file, 'The zip archive has no end record: the file was cut off');
  const endAt = size - tailBytes + at;
  const short = {
    entries: tail.readUInt16LE(at + 10),
    size: tail.readUInt32LE(at + 12),
    offset: tail.readUInt32LE(at + 16),
  };
  const disk = tail.readUInt16LE(at + 4);
  if (disk !== 0 && disk !== NONE_16) fail(file, 'The zip archive is split over several files');

  const long = await readZip64End(reader, endAt);
  if (long === undefined) {
    if (short.offset + short.size !== endAt) {
      fail(file, 'The zip directory does not end where its end record begins');
    }
    return short;
  }
  const agree =
    (short.entries === NONE_16 || short.entries === long.entries) &&
    (short.size === NONE_32 || short.size === long.size) &&
    (short.offset === NONE_32 || short.offset === long.offset);
  if (!agree)
    fail(file, 'The two end records of the zip archive contradict each other', long, short);
  return long;
}

interface CentralEntry {
  name: string;
  rawName: Buffer;
  headerOffset: number;
  size: number;
}

/** Replaces 32-bit fields that say "see the zip64 extra field" by what stands there, in this fixed order. */
function applyZip64Extra(extra: Buffer, fields: number[], file: string): number[] {
  if (!fields.includes(NONE_32)) return fields;
  for (let at = 0; at + 4 <= extra.length; ) {
    const id = extra.readUInt16LE(at);
    const end = at + 4 + extra.readUInt16LE(at + 2);
    if (end > extra.length) break;
    if (id === ZIP64_EXTRA) {
      let next = at + 4;
      return fields.map((field) => {
        if (field !== NONE_32) return field;
        if (next + 8 > end) fail(file, 'A zip64 extra field is too short');
        next += 8;
        return readSize64(extra, next - 8, file);
      });
    }
    at = end;
  }
  return fail(file, 'A zip entry refers to a zip64 extra field that it does not have');
}

function parseCentralEntry(directory: Buffer, at: number, file: string): [CentralEntry, number] {
  if (at + CENTRAL_HEADER_BYTES > directory.length) {
    fail(file, 'The zip directory ends in the middle of an entry');
  }
  if (directory.readUInt32LE(at) !== CENTRAL_HEADER) {
    fail(file, 'The zip directory holds something that is no entry');
  }
  const nameEnd = at + CENTRAL_HEADER_BYTES + directory.readUInt16LE(at + 28);
  const extraEnd = nameEnd + directory.readUInt16LE(at + 30);
  const end = extraEnd + directory.readUInt16LE(at + 32);
  if (end > directory.length) fail(file, 'The zip directory ends in the middle of an entry');
  const rawName = directory.subarray(at + CENTRAL_HEADER_BYTES, nameEnd);
  if (rawName.length > LIMITS.zipNameBytes) {
    fail(
      file,
      'A zip entry has a name that is too long',
      `at most ${LIMITS.zipNameBytes} bytes`,
      rawName.length,
    );
  }
  const name = decodeUtf8(rawName, file);

  const flags = directory.readUInt16LE(at + 8);
  const method = directory.readUInt16LE(at + 10);
  if ((flags & FLAG_ENCRYPTED) !== 0) fail(file, `Zip entry ${name} is encrypted`);
  if (method !== 0) {
    fail(file, `Zip entry ${name} is compressed`, 'method 0 (stored)', `method ${method}`);
  }
  const [size = 0, stored = 0, headerOffset = 0] = applyZip64Extra(
    directory.subarray(nameEnd, extraEnd),
    [
      directory.readUInt32LE(at + 24),
      directory.readUInt32LE(at + 20),
      directory.readUInt32LE(at + 42),
    ],
    file,
  );
  if (size !== stored) {
    fail(file, `Zip entry ${name} is stored under another size than its own`, size, stored);
  }
  return [{ name, rawName, headerOffset, size }, end];
}

/** Local headers of small entries stand close to each other: one read gives several. */
class HeaderReader {
  private block: Buffer = Buffer.alloc(0);
  private start = 0;

  constructor(private readonly reader: RangeReader) {}

  async read(offset: number, length: number): Promise<Buffer> {
    if (offset < this.start || offset + length > this.start + this.block.length) {
      const bytes = Math.max(length, Math.min(HEADER_BLOCK_BYTES, this.reader.size - offset));
      this.block = await this.reader.read(offset, bytes);
      this.start = offset;
    }
    return this.block.subarray(offset - this.start, offset - this.start + length);
  }
}

/** Where the entry's bytes begin, from its local header, which must tell the same as the directory. */
async function locate(
  file: string,
  headers: HeaderReader,
  entry: CentralEntry,
  limit: number,
): Promise<ZipEntry> {
  const { name, rawName, headerOffset, size } = entry;
  const fixedEnd = headerOffset + LOCAL_HEADER_BYTES + rawName.length;
  if (fixedEnd > limit) fail(file, `Zip entry ${name} begins outside of the archive`);
  const header = await headers.read(headerOffset, LOCAL_HEADER_BYTES + rawName.length);
  if (header.readUInt32LE(0) !== LOCAL_HEADER) fail(file, `Zip entry ${name} has no local header`);
  const flags = header.readUInt16LE(6);
  if (
    (flags & FLAG_ENCRYPTED) !== 0 ||
    header.readUInt16LE(8) !== 0 ||
    header.readUInt16LE(26) !== rawName.length ||
    !header.subarray(LOCAL_HEADER_BYTES).equals(rawName)
  ) {
    fail(file, `Zip entry ${name} has a local header that contradicts the directory`);
  }
  // torch.save writes the sizes after the data and 0 here; where a size does stand here it must be right.
  for (const local of [header.readUInt32LE(18), header.readUInt32LE(22)]) {
    const open = local === NONE_32 || (local === 0 && (flags & FLAG_SIZES_FOLLOW) !== 0);
    if (!open && local !== size) {
      fail(
        file,
        `Zip entry ${name} has a local header that contradicts the directory`,
        size,
        local,
      );
    }
  }
  const offset = fixedEnd + header.readUInt16LE(28);
  if (offset + size > limit) {
    fail(
      file,
      `Zip entry ${name} reaches beyond the end of the data`,
      `at most ${limit}`,
      offset + size,
    );
  }
  return { name, offset, size };
}

/**
 * Entries of a zip or zip64 archive, by name. Reads the directory and the local headers only. Accepts
 * what torch.save writes: stored entries, each of which owns its bytes alone.
 * @throws CheckpointError: compressed or encrypted entries, overlaps, ranges outside of the file, names
 * that occur twice, records that contradict each other.
 */
export async function readZip(
  reader: RangeReader,
  signal?: AbortSignal,
): Promise<Map<string, ZipEntry>> {
  const { path: file } = reader;
  const { entries: count, offset, size } = await readEnd(reader);
  if (count > LIMITS.zipEntries || size > LIMITS.zipDirectoryBytes) {
    fail(
      file,
      'The zip directory is too large',
      `at most ${LIMITS.zipEntries} entries in ${LIMITS.zipDirectoryBytes} bytes`,
      `${count} in ${size}`,
    );
  }
  const directory = await reader.read(offset, size);
  const central: CentralEntry[] = [];
  const slice = new TimeSlice(signal);
  let at = 0;
  while (at < size) {
    if (slice.due()) await slice.next();
    const [entry, next] = parseCentralEntry(directory, at, file);
    central.push(entry);
    at = next;
  }
  if (central.length !== count) {
    fail(file, 'The zip directory does not hold as many entries as it says', count, central.length);
  }

  central.sort((a, b) => a.headerOffset - b.headerOffset);
  const entries = new Map<string, ZipEntry>();
  const headers = new HeaderReader(reader);
  let previousEnd = 0;
  for (const entry of central) {
    if (slice.due()) await slice.next();
    if (entries.has(entry.name)) fail(file, `The zip archive has ${entry.name} twice`);
    if (entry.headerOffset < previousEnd) {
      fail(file, `Zip entry ${entry.name} overlaps the entry before it`);
    }
    const located = await locate(file, headers, entry, offset);
    entries.set(located.name, located);
    previousEnd = located.offset + located.size;
  }
  return entries;
}
