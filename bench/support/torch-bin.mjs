/**
 * A checkpoint as torch.save writes it whose tensors are views of one storage: a model of any size out of
 * a file as large as its largest matrix. What loads it copies every tensor, so that in memory all is as
 * with a file of full size; only the disk is spared.
 */
import { closeSync, openSync, writeSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { FORMATS, NormalWeights } from './random-weights.mjs';
import { elements } from './shapes.mjs';

const CHUNK = 1 << 20;
/** torch.save aligns storages to this many bytes. */
const ALIGNMENT = 64;
const STORAGES = { float16: 'HalfStorage', bfloat16: 'BFloat16Storage', float32: 'FloatStorage' };

/** The few opcodes of Python's pickle (protocol 2) that a state dict takes. */
class Pickle {
  #parts = [Buffer.from([0x80, 2])];

  op(text) {
    this.#parts.push(Buffer.from(text, 'latin1'));
    return this;
  }
  string(text) {
    const bytes = Buffer.from(text);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    this.op('X');
    this.#parts.push(length, bytes);
    return this;
  }
  integer(value) {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(value);
    this.op('J');
    this.#parts.push(bytes);
    return this;
  }
  integers(values) {
    this.op('(');
    for (const value of values) this.integer(value);
    return this.op('t');
  }
  global(module, name) {
    return this.op(`c${module}\n${name}\n`);
  }
  end() {
    return Buffer.concat([...this.#parts, Buffer.from('.')]);
  }
}

/** {name: view of (storage, offset)}. */
function stateDict(tensors, storages, dtype) {
  const pickle = new Pickle().op('}(');
  for (const { name, dims, storage, offset } of tensors) {
    const strides = dims.map((_, i) => elements(dims.slice(i + 1)));
    pickle.string(name).global('torch._utils', '_rebuild_tensor_v2').op('(');
    pickle.op('(').string('storage').global('torch', STORAGES[dtype]).string(String(storage));
    pickle.string('cpu').integer(storages[storage]).op('tQ');
    pickle.integer(offset).integers(dims).integers(strides);
    // requires_grad, and no hooks.
    pickle.op('\x89').global('collections', 'OrderedDict').op(')RtR');
  }
  return pickle.op('u').end();
}

/** A zip archive of stored entries, written once from front to back. */
class Archive {
  #file;
  #at = 0;
  #directory = [];

  constructor(file) {
    this.#file = openSync(file, 'w');
  }

  /** @param chunks yields an entry's bytes, `size` in all */
  add(name, size, chunks) {
    const path = Buffer.from(name);
    const start = this.#at;
    const padding = (ALIGNMENT - ((start + 30 + path.length + 4) % ALIGNMENT)) % ALIGNMENT;
    const header = Buffer.alloc(30 + path.length + 4 + padding);
    header.writeUInt32LE(0x04034b50, 0);
    header.writeUInt32LE(size, 18);
    header.writeUInt32LE(size, 22);
    header.writeUInt16LE(path.length, 26);
    header.writeUInt16LE(4 + padding, 28);
    path.copy(header, 30);
    header.write('FB', 30 + path.length, 'latin1');
    header.writeUInt16LE(padding, 32 + path.length);
    this.#at += header.length;
    let crc = 0;
    for (const chunk of chunks) {
      const bytes = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      crc = crc32(bytes, crc);
      writeSync(this.#file, bytes, 0, bytes.length, this.#at);
      this.#at += bytes.length;
    }
    header.writeUInt32LE(crc, 14);
    writeSync(this.#file, header, 0, header.length, start);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt32LE(crc, 16);
    central.writeUInt32LE(size, 20);
    central.writeUInt32LE(size, 24);
    central.writeUInt16LE(path.length, 28);
    central.writeUInt32LE(start, 42);
    this.#directory.push(central, path);
  }

  close() {
    const directory = Buffer.concat(this.#directory);
    const end = Buffer.alloc(22);
    end.writeUInt32LE(0x06054b50, 0);
    end.writeUInt16LE(this.#directory.length / 2, 8);
    end.writeUInt16LE(this.#directory.length / 2, 10);
    end.writeUInt32LE(directory.length, 12);
    end.writeUInt32LE(this.#at, 16);
    const rest = Buffer.concat([directory, end]);
    writeSync(this.#file, rest, 0, rest.length, this.#at);
    closeSync(this.#file);
  }
}

function* chunksOf(count, dtype, fill) {
  const chunk = new FORMATS[dtype].TypedArray(Math.min(count, CHUNK));
  for (let left = count; left > 0; left -= chunk.length) {
    const part = chunk.subarray(0, Math.min(left, CHUNK));
    fill(part);
    yield part;
  }
}

/**
 * Writes `file`: matrices are views of normal numbers, each beginning elsewhere, vectors are ones.
 *
 * @param tensors [name, shape] in the order of the file
 */
export function writeTorchViews(file, tensors, { dtype, deviation, seed }) {
  const { bytes, encode } = FORMATS[dtype];
  const count = (rank) =>
    Math.max(
      ...tensors.filter(([, dims]) => dims.length === rank).map(([, dims]) => elements(dims)),
    );
  // A tenth more than the largest matrix takes, so that it too can begin elsewhere than the others.
  const matrices = Math.ceil((1.1 * count(2)) / CHUNK) * CHUNK;
  const vectors = count(1);
  const placed = tensors.map(([name, dims], i) => {
    const room = dims.length === 1 ? 1 : matrices - elements(dims) + 1;
    return { name, dims, storage: dims.length === 1 ? 1 : 0, offset: (i * 7_919_011) % room };
  });
  const pickle = stateDict(placed, [matrices, vectors], dtype);
  const weights = new NormalWeights(dtype, deviation, seed);
  const archive = new Archive(file);
  archive.add('archive/data.pkl', pickle.length, [pickle]);
  archive.add('archive/byteorder', 6, [Buffer.from('little')]);
  archive.add(
    'archive/data/0',
    matrices * bytes,
    chunksOf(matrices, dtype, (part) => weights.fill(part)),
  );
  archive.add(
    'archive/data/1',
    vectors * bytes,
    chunksOf(vectors, dtype, (part) => part.fill(encode(1))),
  );
  archive.add('archive/version', 2, [Buffer.from('3\n')]);
  archive.close();
}
