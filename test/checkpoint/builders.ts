/** Builders of checkpoint files, well-formed unless told otherwise, for tests that damage them. */

/** A safetensors file with this header, as text or as an object, and this much data. */
export function safetensorsFile(header: object | string | Buffer, dataBytes = 0): Buffer {
  const text = Buffer.isBuffer(header)
    ? header
    : Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text, Buffer.alloc(dataBytes)]);
}

/** What a zip entry can be made to lie about. */
export interface ZipFileEntry {
  name: string;
  data: Buffer;
  method?: number;
  flags?: number;
  /** In the directory only. */
  size?: number;
  storedSize?: number;
  headerOffset?: number;
  /** In the local header only. */
  localName?: string;
  localSize?: number;
}

function localHeader(entry: ZipFileEntry): Buffer {
  const name = Buffer.from(entry.localName ?? entry.name);
  const header = Buffer.alloc(30);
  header.writeUInt32LE(0x04034b50, 0);
  header.writeUInt16LE(entry.flags ?? 0, 6);
  header.writeUInt16LE(entry.method ?? 0, 8);
  header.writeUInt32LE(entry.localSize ?? entry.data.length, 18);
  header.writeUInt32LE(entry.localSize ?? entry.data.length, 22);
  header.writeUInt16LE(name.length, 26);
  return Buffer.concat([header, name]);
}

function centralHeader(entry: ZipFileEntry, headerOffset: number): Buffer {
  const name = Buffer.from(entry.name);
  const header = Buffer.alloc(46);
  header.writeUInt32LE(0x02014b50, 0);
  header.writeUInt16LE(entry.flags ?? 0, 8);
  header.writeUInt16LE(entry.method ?? 0, 10);
  header.writeUInt32LE(entry.storedSize ?? entry.size ?? entry.data.length, 20);
  header.writeUInt32LE(entry.size ?? entry.data.length, 24);
  header.writeUInt16LE(name.length, 28);
  header.writeUInt32LE(entry.headerOffset ?? headerOffset, 42);
  return Buffer.concat([header, name]);
}

/** The 22 bytes at the end of a zip archive. */
export function zipEnd(entries: number, size: number, offset: number): Buffer {
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entries, 8);
  end.writeUInt16LE(entries, 10);
  end.writeUInt32LE(size, 12);
  end.writeUInt32LE(offset, 16);
  return end;
}

/** The zip64 end record and its locator. */
export function zip64End(entries: number, size: number, offset: number): Buffer {
  const record = Buffer.alloc(56 + 20);
  record.writeUInt32LE(0x06064b50, 0);
  record.writeBigUInt64LE(44n, 4);
  record.writeBigUInt64LE(BigInt(entries), 24);
  record.writeBigUInt64LE(BigInt(entries), 32);
  record.writeBigUInt64LE(BigInt(size), 40);
  record.writeBigUInt64LE(BigInt(offset), 48);
  record.writeUInt32LE(0x07064b50, 56);
  record.writeBigUInt64LE(BigInt(offset + size), 64);
  record.writeUInt32LE(1, 72);
  return record;
}

/** A zip archive of stored entries. */
export function zipFile(entries: readonly ZipFileEntry[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const entry of entries) {
    directory.push(centralHeader(entry, at));
    const part = Buffer.concat([localHeader(entry), entry.data]);
    parts.push(part);
    at += part.length;
  }
  const central = Buffer.concat(directory);
  return Buffer.concat([...parts, central, zipEnd(entries.length, central.length, at)]);
}

/** Assembles a pickle from opcodes; method names are those of Python's pickletools. */
export class PickleWriter {
  private readonly parts: Buffer[] = [Buffer.from([0x80, 2])];

  raw(...bytes: (number | string)[]): this {
    for (const part of bytes) {
      this.parts.push(typeof part === 'string' ? Buffer.from(part) : Buffer.from([part]));
    }
    return this;
  }

  int(value: number): this {
    const bytes = Buffer.alloc(9);
    if (Math.abs(value) < 2 ** 31) {
      bytes.write('J', 'latin1');
      bytes.writeInt32LE(value, 1);
      this.parts.push(bytes.subarray(0, 5));
      return this;
    }
    bytes.writeBigInt64LE(BigInt(value), 1);
    this.parts.push(Buffer.from([0x8a, 8]), bytes.subarray(1));
    return this;
  }

  text(value: string): this {
    const bytes = Buffer.from(value);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    this.parts.push(Buffer.from('X'), length, bytes);
    return this;
  }

  global(module: string, name: string): this {
    return this.raw(`c${module}\n${name}\n`);
  }

  ints(values: readonly number[]): this {
    this.raw('(');
    for (const value of values) this.int(value);
    return this.raw('t');
  }

  emptyDict(): this {
    return this.global('collections', 'OrderedDict').raw(')', 'R');
  }

  tensor(spec: TensorSpec): this {
    const { key = '0', type = 'FloatStorage', elements, offset = 0, shape, strides } = spec;
    this.global('torch._utils', '_rebuild_tensor_v2').raw('(');
    this.raw('(').text('storage').global('torch', type).text(key).text('cpu').int(elements);
    return this.raw('t', 'Q')
      .int(offset)
      .ints(shape)
      .ints(strides)
      .raw(0x89)
      .emptyDict()
      .raw('t', 'R');
  }

  end(): Buffer {
    return Buffer.concat([...this.parts, Buffer.from('.')]);
  }
}

/** Arguments of a `_rebuild_tensor_v2`. */
export interface TensorSpec {
  key?: string;
  type?: string;
  /** Elements that the storage claims to have. */
  elements: number;
  offset?: number;
  shape: readonly number[];
  strides: readonly number[];
}

/** The pickle of a state dict. */
export function stateDictPickle(tensors: Readonly<Record<string, TensorSpec>>): Buffer {
  const writer = new PickleWriter().emptyDict().raw('(');
  for (const [name, spec] of Object.entries(tensors)) writer.text(name).tensor(spec);
  return writer.raw('u').end();
}

/** A file as torch.save writes it. `storages` are the bytes of data/0, data/1, ... */
export function torchFile(
  pickle: Buffer,
  storages: readonly Buffer[] = [],
  more: readonly ZipFileEntry[] = [],
): Buffer {
  return zipFile([
    { name: 'archive/data.pkl', data: pickle },
    { name: 'archive/byteorder', data: Buffer.from('little') },
    ...storages.map((data, i) => ({ name: `archive/data/${i}`, data })),
    ...more,
  ]);
}
