import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileError } from '../bounded-file.js';
import { CheckpointError, FileNotFoundError, invalidArgument, throwIfAborted } from '../errors.js';
import { foreignFormat } from './foreign-formats.js';
import { readShardIndex } from './index-json.js';
import { readSafetensors } from './safetensors.js';
import { readTorchBin } from './torch-bin.js';
import { type Checkpoint, DTYPE_BYTES, LIMITS, type TensorEntry } from './types.js';

/** Options of {@link openCheckpoint}. */
export interface OpenCheckpointOptions {
  /** Folder inside of the model's folder that holds the weights. */
  subfolder?: string;
  /** Which format to take where both are there. Default: safetensors. */
  prefer?: Checkpoint['format'];
  signal?: AbortSignal;
}

interface Layout {
  format: Checkpoint['format'];
  extension: string;
  /** The whole checkpoint in one file. */
  single: string;
  /** The list of shards; `single` is looked for first, as transformers does. */
  index: string;
  read: (path: string, signal?: AbortSignal) => Promise<TensorEntry[]>;
}

const SAFETENSORS: Layout = {
  format: 'safetensors',
  extension: '.safetensors',
  single: 'model.safetensors',
  index: 'model.safetensors.index.json',
  read: readSafetensors,
};

const PYTORCH: Layout = {
  format: 'pytorch',
  extension: '.bin',
  single: 'pytorch_model.bin',
  index: 'pytorch_model.bin.index.json',
  read: readTorchBin,
};

/** Follows symbolic links; a dangling one counts as missing. */
async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}

async function missingWeights(folder: string): Promise<never> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (error) {
    throw fileError(error, folder);
  }
  const weights = names.filter((name) => /\.(safetensors|bin|pth|pt|gguf|h5|msgpack)$/.test(name));
  const foreign = foreignFormat(names);
  throw new FileNotFoundError('No weights that can be loaded', {
    file: folder,
    expected: [SAFETENSORS, PYTORCH].flatMap(({ single, index }) => [single, index]).join(', '),
    found:
      foreign?.found ??
      (weights.length > 0 ? weights.slice(0, 20).join(', ') : 'no file of weights'),
    remedy: foreign?.remedy ?? 'Point to a folder in the layout of Hugging Face transformers.',
  });
}

async function readShards(
  folder: string,
  layout: Layout,
  signal: AbortSignal | undefined,
): Promise<[string[], Map<string, TensorEntry>]> {
  const { shards, weightMap } = await readShardIndex(
    folder,
    layout.index,
    layout.extension,
    signal,
  );
  const missing: string[] = [];
  for (const shard of shards) if (!(await isFile(join(folder, shard)))) missing.push(shard);
  if (missing.length > 0) {
    throw new FileNotFoundError(
      `${missing.length} of the checkpoint's ${shards.length} files ${missing.length === 1 ? 'is' : 'are'} missing`,
      {
        file: join(folder, missing[0] as string),
        expected: shards.slice(0, 100).join(', '),
        found: `no ${missing.slice(0, 100).join(', ')}`,
        remedy: 'Download the missing files into the same folder.',
      },
    );
  }

  const files: string[] = [];
  const tensors = new Map<string, TensorEntry>();
  for (const shard of shards) {
    throwIfAborted(signal);
    const file = join(folder, shard);
    files.push(file);
    const found = await layout.read(file, signal);
    if (found.length === 0) {
      throw new CheckpointError('A file of the checkpoint holds no tensors', {
        file,
        remedy: 'The index and the files do not belong together; download all of them again.',
      });
    }
    for (const tensor of found) addTensor(tensors, tensor);
  }
  for (const [name, shard] of weightMap) {
    const entry = tensors.get(name);
    if (entry?.file === join(folder, shard)) continue;
    throw new CheckpointError(`Tensor ${name} is not where the index says`, {
      file: join(folder, shard),
      subject: name,
      expected: `in ${shard}`,
      found: entry === undefined ? 'in no file' : `in ${entry.file}`,
      remedy: 'The index and the files do not belong together; download all of them again.',
    });
  }
  return [files, tensors];
}

function addTensor(tensors: Map<string, TensorEntry>, tensor: TensorEntry): void {
  const other = tensors.get(tensor.name);
  if (other !== undefined || tensors.size >= LIMITS.tensors) {
    throw new CheckpointError(
      other !== undefined
        ? `Tensor ${tensor.name} is in two files of the checkpoint`
        : `The checkpoint has more than ${LIMITS.tensors} tensors`,
      { file: tensor.file, subject: tensor.name, found: other && `also in ${other.file}` },
    );
  }
  tensors.set(tensor.name, tensor);
}

/**
 * Opens the checkpoint in a local folder: `model.safetensors`, else its sharded form, else
 * `pytorch_model.bin`, else its sharded form. Reads headers only, so memory and time do not depend on
 * the size of the weights; no file stays open.
 * @throws FileNotFoundError (no weights, or a shard is missing), CheckpointError (damaged or hostile),
 * InvalidArgumentError, AbortError
 */
export async function openCheckpoint(
  dir: string,
  options: OpenCheckpointOptions = {},
): Promise<Checkpoint> {
  const { subfolder = '', prefer = 'safetensors', signal } = options;
  if (prefer !== 'safetensors' && prefer !== 'pytorch') {
    throw invalidArgument('prefer', "'safetensors' or 'pytorch'", prefer);
  }
  throwIfAborted(signal);
  const folder = resolve(dir, subfolder);
  for (const layout of prefer === 'pytorch' ? [PYTORCH, SAFETENSORS] : [SAFETENSORS, PYTORCH]) {
    let files: string[];
    let tensors: Map<string, TensorEntry>;
    const single = join(folder, layout.single);
    if (await isFile(single)) {
      files = [single];
      tensors = new Map();
      for (const tensor of await layout.read(single, signal)) addTensor(tensors, tensor);
    } else if (await isFile(join(folder, layout.index))) {
      [files, tensors] = await readShards(folder, layout, signal);
    } else {
      continue;
    }
    let totalBytes = 0;
    for (const { shape, dtype } of tensors.values()) {
      totalBytes += shape.reduce((count, size) => count * size, 1) * DTYPE_BYTES[dtype];
    }
    return { format: layout.format, files, tensors, totalBytes };
  }
  return missingWeights(folder);
}

/**
 * The tensor `name`, which must have `shape`; for holding a checkpoint to its config.json.
 * @throws CheckpointError: missing, or of another shape.
 */
export function requireTensor(
  checkpoint: Checkpoint,
  name: string,
  shape: readonly number[],
): TensorEntry {
  const tensor = checkpoint.tensors.get(name);
  if (tensor === undefined) {
    throw new CheckpointError(`Tensor ${name} is missing`, {
      file: checkpoint.files[0],
      subject: name,
      expected: `shape [${shape.join(', ')}]`,
      remedy: 'The weights and config.json do not belong together, or a file is incomplete.',
    });
  }
  if (tensor.shape.length !== shape.length || tensor.shape.some((size, i) => size !== shape[i])) {
    throw new CheckpointError(`Tensor ${name} has another shape than config.json implies`, {
      file: tensor.file,
      subject: name,
      expected: `[${shape.join(', ')}]`,
      found: `[${tensor.shape.join(', ')}]`,
      remedy: 'The weights and config.json do not belong together.',
    });
  }
  return tensor;
}
