import { join } from 'node:path';
import { isObject, readBoundedJson } from '../bounded-json.js';
import { CheckpointError } from '../errors.js';
import { isPlainFileName } from './file.js';
import { checkTensorName } from './shape.js';
import { LIMITS } from './types.js';

/** What a `*.index.json` says: which shard each tensor is in. */
export interface ShardIndex {
  /** Plain file names, sorted. */
  shards: string[];
  /** Tensor name to plain file name. */
  weightMap: Map<string, string>;
}

/**
 * Reads `model.safetensors.index.json` or `pytorch_model.bin.index.json`.
 * @param extension that every shard must have, such as ".safetensors".
 * @throws FileNotFoundError, CheckpointError: malformed, or a shard that is not a plain file name.
 */
export async function readShardIndex(
  folder: string,
  fileName: string,
  extension: string,
  signal?: AbortSignal,
): Promise<ShardIndex> {
  const file = join(folder, fileName);
  const { weight_map: map } = await readBoundedJson(file, {
    what: 'The index',
    maxBytes: LIMITS.indexBytes,
    maxValues: LIMITS.indexValues,
    maxKeys: LIMITS.jsonKeys,
    maxDepth: LIMITS.jsonDepth,
    signal,
  });
  if (!isObject(map)) {
    throw new CheckpointError('The index has no weight_map', {
      file,
      subject: 'weight_map',
      expected: 'an object of tensor names and file names',
    });
  }
  const weightMap = new Map<string, string>();
  for (const [name, shard] of Object.entries(map)) {
    checkTensorName(name, file);
    if (typeof shard !== 'string' || !isPlainFileName(shard) || !shard.endsWith(extension)) {
      throw new CheckpointError(`The index puts tensor ${name} into a file that it may not name`, {
        file,
        subject: name,
        expected: `the plain name of a ${extension} file in the same folder`,
        found: shard,
        remedy: 'The index is damaged or hostile; download it again from a source you trust.',
      });
    }
    weightMap.set(name, shard);
  }
  const shards = [...new Set(weightMap.values())].sort();
  if (weightMap.size === 0 || weightMap.size > LIMITS.tensors || shards.length > LIMITS.shards) {
    throw new CheckpointError('The index lists an impossible number of tensors or files', {
      file,
      expected: `1 to ${LIMITS.tensors} tensors in at most ${LIMITS.shards} files`,
      found: `${weightMap.size} tensors in ${shards.length} files`,
    });
  }
  return { shards, weightMap };
}
