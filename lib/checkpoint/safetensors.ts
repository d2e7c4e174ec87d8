import { type RangeReader, withFile } from '../bounded-file.js';
import { isObject, type JsonObject, parseBoundedJson } from '../bounded-json.js';
import { CheckpointError } from '../errors.js';
import { TimeSlice } from '../time-slice.js';
import { refusePlaceholders } from './file.js';
import { checkTensorName, countElements, isSize, multiplySizes, rowMajorStrides } from './shape.js';
import { DTYPE_BYTES, LIMITS, type StoredDtype, type TensorEntry } from './types.js';

const DTYPES: Readonly<Record<string, StoredDtype>> = {
  F64: 'float64',
  F32: 'float32',
  F16: 'float16',
  BF16: 'bfloat16',
  F8_E4M3: 'float8_e4m3fn',
  F8_E5M2: 'float8_e5m2',
  F8_E8M0: 'float8_e8m0fnu',
  C64: 'complex64',
  I64: 'int64',
  U64: 'uint64',
  I32: 'int32',
  U32: 'uint32',
  I16: 'int16',
  U16: 'uint16',
  I8: 'int8',
  U8: 'uint8',
  BOOL: 'bool',
};

const DOWNLOAD_AGAIN = 'The file is damaged; download it again.';

/** Length of the JSON header, from the file's first 8 bytes. */
async function readHeaderLength(reader: RangeReader): Promise<number> {
  const { path: file, size } = reader;
  if (size < 8) {
    throw new CheckpointError('The file is too short to be safetensors', {
      file,
      expected: 'at least 8 bytes',
      found: `${size} bytes`,
      remedy: DOWNLOAD_AGAIN,
    });
  }
  const length = (await reader.read(0, 8)).readBigUInt64LE(0);
  if (length > BigInt(LIMITS.safetensorsHeaderBytes)) {
    throw new CheckpointError('The safetensors header is longer than a model needs', {
      file,
      expected: `at most ${LIMITS.safetensorsHeaderBytes} bytes`,
      found: `${length} bytes`,
      remedy: 'This is no safetensors file, a damaged one, or no language model.',
    });
  }
  if (8 + Number(length) > size) {
    throw new CheckpointError('The safetensors header reaches beyond the end of the file', {
      file,
      expected: `${8 + Number(length)} bytes`,
      found: `${size} bytes`,
      remedy: 'The file was cut off; download it again.',
    });
  }
  return Number(length);
}

/** The header as JSON; the format wants its first byte to be the brace, so no byte order mark either. */
async function readHeader(
  reader: RangeReader,
  length: number,
  signal: AbortSignal | undefined,
): Promise<JsonObject> {
  const file = reader.path;
  const bytes = await reader.read(8, length);
  if (bytes[0] !== 0x7b) {
    throw new CheckpointError('The safetensors header does not begin with {', {
      file,
      remedy: 'This is no safetensors file, or a damaged one.',
    });
  }
  return parseBoundedJson(bytes, {
    file,
    what: 'The safetensors header',
    maxBytes: LIMITS.safetensorsHeaderBytes,
    maxValues: LIMITS.safetensorsHeaderValues,
    maxKeys: LIMITS.jsonKeys,
    maxDepth: LIMITS.jsonDepth,
    signal,
  });
}

function checkMetadata(value: unknown, file: string): void {
  if (isObject(value) && Object.values(value).every((entry) => typeof entry === 'string')) return;
  throw new CheckpointError('__metadata__ of a safetensors header must map strings to strings', {
    file,
    subject: '__metadata__',
  });
}

/** One header entry, with offsets still relative to the data section. */
function parseEntry(name: string, value: unknown, file: string): TensorEntry {
  checkTensorName(name, file);
  const fail = (field: string, expected: string, found: unknown): never => {
    throw new CheckpointError(`Tensor ${name} has a malformed ${field}`, {
      file,
      subject: name,
      expected,
      found,
    });
  };
  if (!isObject(value)) return fail('entry', 'an object', value);
  const { dtype: storedDtype, shape, data_offsets: offsets } = value;
  const dtype =
    typeof storedDtype === 'string' && Object.hasOwn(DTYPES, storedDtype)
      ? DTYPES[storedDtype]
      : undefined;
  if (dtype === undefined) {
    return fail('dtype', `one of ${Object.keys(DTYPES).join(', ')}`, storedDtype);
  }
  if (!Array.isArray(shape) || shape.length > LIMITS.rank || !shape.every(isSize)) {
    return fail('shape', `at most ${LIMITS.rank} non-negative integers`, shape);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    return fail('data_offsets', 'two non-negative integers', offsets);
  }
  const [begin, end] = offsets as [number, number];
  if (end < begin) return fail('data_offsets', 'an end that is not before its begin', offsets);
  const elements = countElements(shape, name, file);
  const nbytes = multiplySizes(elements, DTYPE_BYTES[dtype]);
  if (nbytes !== end - begin) {
    throw new CheckpointError(`Tensor ${name} does not fill its byte range`, {
      file,
      subject: name,
      expected: `${nbytes ?? 'more than 2^53'} bytes for ${storedDtype} [${shape.join(', ')}]`,
      found: `${end - begin} bytes`,
      remedy: DOWNLOAD_AGAIN,
    });
  }
  return {
    name,
    dtype,
    shape,
    strides: rowMajorStrides(shape),
    file,
    offset: begin,
    nbytes: end - begin,
  };
}

/** The format allows neither gaps nor overlaps: each range begins where the last one ended. */
function checkRanges(entries: readonly TensorEntry[], dataBytes: number, file: string): void {
  const sorted = [...entries].sort((a, b) => a.offset - b.offset || a.nbytes - b.nbytes);
  let end = 0;
  let previous = 'the start of the data';
  for (const { name, offset, nbytes } of sorted) {
    if (offset !== end) {
      throw new CheckpointError(
        `Tensor ${name} ${offset < end ? 'overlaps' : 'leaves a gap after'} ${previous}`,
        {
          file,
          subject: name,
          expected: `offset ${end}`,
          found: `offset ${offset}`,
          remedy: DOWNLOAD_AGAIN,
        },
      );
    }
    end = offset + nbytes;
    previous = name;
  }
  if (end !== dataBytes) {
    throw new CheckpointError('The file does not end where its last tensor does', {
      file,
      expected: `${end} bytes of data`,
      found: `${dataBytes} bytes`,
      remedy:
        end > dataBytes
          ? 'The file was cut off; download it again.'
          : 'Bytes were appended to the file; download it again.',
    });
  }
}

async function parseHeader(
  header: JsonObject,
  file: string,
  signal: AbortSignal | undefined,
): Promise<TensorEntry[]> {
  const entries: TensorEntry[] = [];
  const names = Object.keys(header);
  if (names.length > LIMITS.tensors) {
    throw new CheckpointError('The safetensors header lists too many tensors', {
      file,
      expected: `at most ${LIMITS.tensors}`,
      found: names.length,
    });
  }
  const slice = new TimeSlice(signal);
  for (const name of names) {
    if (slice.due()) await slice.next();
    if (name === '__metadata__') checkMetadata(header[name], file);
    else entries.push(parseEntry(name, header[name], file));
  }
  return entries;
}

/**
 * Tensors of one safetensors file. Reads the header only and holds it to every rule of the format:
 * https://github.com/huggingface/safetensors, "Format".
 * @throws FileNotFoundError, CheckpointError
 */
export async function readSafetensors(path: string, signal?: AbortSignal): Promise<TensorEntry[]> {
  const read = async (reader: RangeReader) => {
    await refusePlaceholders(reader);
    const length = await readHeaderLength(reader);
    const entries = await parseHeader(await readHeader(reader, length, signal), path, signal);
    const dataStart = 8 + length;
    checkRanges(entries, reader.size - dataStart, path);
    for (const entry of entries) entry.offset += dataStart;
    return entries;
  };
  return withFile(path, read, { signal });
}
