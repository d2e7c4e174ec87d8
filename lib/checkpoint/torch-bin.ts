import { type RangeReader, withFile } from '../bounded-file.js';
import { CheckpointError } from '../errors.js';
import { TimeSlice } from '../time-slice.js';
import { refusePlaceholders } from './file.js';
import { CONVERT_REMEDY, readPickle } from './pickle.js';
import { describeValue, PickleDict, type PickleValue } from './pickle-values.js';
import { checkTensorName, multiplySizes } from './shape.js';
import { TorchTensor, torchGlobals, torchStorage } from './torch-objects.js';
import { DTYPE_BYTES, LIMITS, type TensorEntry } from './types.js';
import { readZip, type ZipEntry } from './zip.js';

// How torch.save began files before PyTorch 1.6: a pickled magic number, and before that a tar archive.
const LEGACY_MAGIC = Buffer.from('8a0a6cfc9c46f9206aa850192e', 'hex');
const TAR_MAGIC_AT = 257;

const RESAVE_REMEDY =
  'Convert it once with PyTorch: python -c "import torch, safetensors.torch as s; ' +
  "d = torch.load('pytorch_model.bin', map_location='cpu', weights_only=True); " +
  "s.save_file({k: v.clone().contiguous() for k, v in d.items()}, 'model.safetensors', " +
  "metadata={'format': 'pt'})\"";

/** Tells the old formats, and what is no checkpoint at all, from a zip archive. */
async function checkContainer(reader: RangeReader): Promise<void> {
  const { path: file } = reader;
  await refusePlaceholders(reader);
  const head = await reader.read(0, Math.min(reader.size, TAR_MAGIC_AT + 5));
  if (head.subarray(0, 4).equals(Buffer.from('PK\x03\x04', 'latin1'))) return;
  if (head.indexOf(LEGACY_MAGIC) === 2) {
    throw new CheckpointError(`${file} has the format that PyTorch wrote before version 1.6`, {
      file,
      remedy: RESAVE_REMEDY,
    });
  }
  if (head.subarray(TAR_MAGIC_AT).toString('latin1') === 'ustar') {
    throw new CheckpointError(`${file} is a tar archive of an early PyTorch`, {
      file,
      remedy: RESAVE_REMEDY,
    });
  }
  throw new CheckpointError(`${file} is not a PyTorch checkpoint`, {
    file,
    expected: 'a zip archive as torch.save writes it',
    found: `first bytes ${head.subarray(0, 8).toString('hex')}`,
    remedy: 'The file is damaged; download it again.',
  });
}

/** Entries of the archive without the folder that torch.save puts around them. */
function stripFolder(entries: Map<string, ZipEntry>, file: string): Map<string, ZipEntry> {
  const pickles = [...entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  const [pickle, ...more] = pickles;
  if (pickle === undefined || more.length > 0) {
    throw new CheckpointError('The archive is not what torch.save writes', {
      file,
      expected: 'one data.pkl',
      found: pickles.length === 0 ? 'none' : pickles.slice(0, 5).join(', '),
    });
  }
  const prefix = pickle.slice(0, -'data.pkl'.length);
  const records = new Map<string, ZipEntry>();
  for (const [name, entry] of entries) {
    if (name.startsWith(prefix)) records.set(name.slice(prefix.length), entry);
  }
  if (records.has('constants.pkl')) {
    throw new CheckpointError(`${file} is a TorchScript program and not a state dict`, {
      file,
      remedy: CONVERT_REMEDY,
    });
  }
  return records;
}

async function checkByteOrder(reader: RangeReader, record: ZipEntry | undefined): Promise<void> {
  if (record === undefined) return;
  const order = (await reader.read(record.offset, Math.min(record.size, 16))).toString('latin1');
  if (order !== 'little') {
    throw new CheckpointError('The checkpoint was saved on a machine of another byte order', {
      file: reader.path,
      subject: 'byteorder',
      expected: 'little',
      found: order,
      remedy: 'Load it with PyTorch and save it again on a little-endian machine.',
    });
  }
}

/** Elements from the first to the last that the view touches; 0 for a view without elements. */
function viewSpan(tensor: TorchTensor): number | undefined {
  let last = 0;
  let elements: number | undefined = 1;
  for (const [i, size] of tensor.shape.entries()) {
    elements = elements === undefined ? undefined : multiplySizes(elements, size);
    const reach = multiplySizes(Math.max(0, size - 1), tensor.strides[i] ?? 0);
    if (reach === undefined || !Number.isSafeInteger(last + reach)) return undefined;
    last += reach;
  }
  if (elements === undefined) return undefined;
  return elements === 0 ? 0 : last + 1;
}

/** A view as a byte range of the file, held to the bounds of its storage. */
function placeTensor(
  name: string,
  tensor: TorchTensor,
  records: Map<string, ZipEntry>,
  file: string,
): TensorEntry {
  checkTensorName(name, file);
  const { storage, shape, strides } = tensor;
  const record = records.get(`data/${storage.key}`);
  if (record === undefined) {
    throw new CheckpointError(`Tensor ${name} refers to a storage that is not in the archive`, {
      file,
      subject: name,
      expected: `data/${storage.key}`,
    });
  }
  const itemBytes = DTYPE_BYTES[storage.dtype];
  const storageBytes = multiplySizes(storage.elements, itemBytes);
  if (storageBytes !== record.size) {
    throw new CheckpointError(`The storage of tensor ${name} has another size than it says`, {
      file,
      subject: name,
      expected: `${storage.elements} elements of ${storage.dtype}`,
      found: `${record.size} bytes`,
      remedy: 'The file is damaged; download it again.',
    });
  }
  const span = viewSpan(tensor);
  if (span === undefined || tensor.offset + span > storage.elements) {
    throw new CheckpointError(`Tensor ${name} reaches beyond the end of its storage`, {
      file,
      subject: name,
      expected: `at most ${storage.elements} elements`,
      found: `shape [${shape.join(', ')}], strides [${strides.join(', ')}], offset ${tensor.offset}`,
      remedy: 'The file is damaged or hostile; download it again from a source you trust.',
    });
  }
  return {
    name,
    dtype: storage.dtype,
    shape: [...shape],
    strides: [...strides],
    file,
    offset: record.offset + tensor.offset * itemBytes,
    nbytes: span * itemBytes,
  };
}

/** What is gathered on a walk through a state dict. */
interface Walk {
  file: string;
  found: Map<string, TorchTensor>;
  visited: Set<PickleDict>;
  slice: TimeSlice;
}

/** Tensors of a state dict; those of dicts inside it under "outer.inner". Other values are not weights. */
async function collectTensors(
  dict: PickleDict,
  prefix: string,
  depth: number,
  walk: Walk,
): Promise<void> {
  const { file, found, visited, slice } = walk;
  if (depth > LIMITS.nesting) {
    throw new CheckpointError('The state dict is nested too deeply', {
      file,
      expected: `at most ${LIMITS.nesting} levels`,
    });
  }
  // References can make a small pickle describe a tree that has no end.
  if (visited.has(dict)) {
    throw new CheckpointError('The state dict holds a dict twice', { file, subject: prefix });
  }
  visited.add(dict);
  for (const [key, value] of dict.entries) {
    if (slice.due()) await slice.next();
    if (!(value instanceof TorchTensor) && !(value instanceof PickleDict)) continue;
    if (typeof key !== 'string') {
      throw new CheckpointError('The state dict has a key that is no string', {
        file,
        found: describeValue(key),
        remedy: CONVERT_REMEDY,
      });
    }
    const name = prefix + key;
    if (value instanceof PickleDict) {
      checkTensorName(name, file);
      await collectTensors(value, `${name}.`, depth + 1, walk);
      continue;
    }
    if (found.has(name) || found.size >= LIMITS.tensors) {
      throw new CheckpointError(
        found.has(name)
          ? `The state dict has the tensor ${name} twice`
          : `The state dict has more than ${LIMITS.tensors} tensors`,
        { file, subject: name },
      );
    }
    found.set(name, value);
  }
}

function stateDict(value: PickleValue, file: string): PickleDict {
  if (value instanceof PickleDict) return value;
  throw new CheckpointError('The file does not hold a state dict', {
    file,
    expected: 'a dict of tensors',
    found: describeValue(value),
    remedy: CONVERT_REMEDY,
  });
}

/**
 * Tensors of one file that torch.save wrote (zip format, PyTorch 1.6 and later). Reads the archive's
 * directory and its pickle only; nothing in the pickle is executed.
 * @throws FileNotFoundError, CheckpointError
 */
export async function readTorchBin(path: string, signal?: AbortSignal): Promise<TensorEntry[]> {
  const read = async (reader: RangeReader) => {
    await checkContainer(reader);
    const records = stripFolder(await readZip(reader, signal), path);
    await checkByteOrder(reader, records.get('byteorder'));
    const pickle = records.get('data.pkl') as ZipEntry;
    if (pickle.size > LIMITS.pickleBytes) {
      throw new CheckpointError('The pickle is too large for a state dict', {
        file: path,
        subject: 'data.pkl',
        expected: `at most ${LIMITS.pickleBytes} bytes`,
        found: `${pickle.size} bytes`,
      });
    }
    const value = await readPickle(await reader.read(pickle.offset, pickle.size), {
      file: path,
      globals: torchGlobals(path),
      persistentLoad: (id) => torchStorage(id, path),
      signal,
    });
    const slice = new TimeSlice(signal);
    const walk: Walk = { file: path, found: new Map(), visited: new Set(), slice };
    await collectTensors(stateDict(value, path), '', 0, walk);
    const entries: TensorEntry[] = [];
    for (const [name, tensor] of walk.found) {
      if (slice.due()) await slice.next();
      entries.push(placeTensor(name, tensor, records, path));
    }
    return entries;
  };
  return withFile(path, read, { signal });
}
