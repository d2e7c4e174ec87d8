import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isPlainFileName } from '../checkpoint/file.js';
import { foreignFormat } from '../checkpoint/foreign-formats.js';
import { FileNotFoundError, OfflineError, throwIfAborted } from '../errors.js';
import type { CachedRepository } from './cache.js';
import { listFolder, type RemoteFile, resolveCommit } from './client.js';
import { cacheError, downloadBlob } from './download.js';
import {
  listShards,
  missingModelFiles,
  selectByPatterns,
  selectModelFiles,
  weightFiles,
} from './model-files.js';
import { FileProgress, type ProgressCallback } from './progress.js';
import type { HubTarget } from './request.js';

/** Which files of a repository are wanted. */
export interface Wanted {
  /** Folder within the repository, without a slash at its ends; '' is the root. */
  subfolder: string;
  /** Instead of everything that a model needs. */
  patterns?: readonly string[];
  use_safetensors?: boolean;
}

interface Found {
  folder: string;
  /** What would be needed and is not there. */
  missing: string[];
}

/** Looks for what is wanted in a snapshot; of patterns, one match is enough. */
async function findCached(cache: CachedRepository, commit: string, wanted: Wanted): Promise<Found> {
  const { subfolder, patterns, use_safetensors } = wanted;
  const folder = join(cache.snapshot(commit), subfolder);
  if (patterns === undefined) {
    return { folder, missing: await missingModelFiles(folder, use_safetensors) };
  }
  const names = await readdir(folder).catch(() => []);
  const matches = selectByPatterns(names, patterns);
  return { folder, missing: matches.length > 0 ? [] : [patterns.join(' or ')] };
}

/**
 * Folder of a commit's snapshot, if it certainly has all that the Hub would give: a model's files, or
 * every one of `patterns`.
 */
export async function completeSnapshot(
  cache: CachedRepository,
  commit: string,
  wanted: Wanted,
): Promise<string | undefined> {
  const each = wanted.patterns?.map((pattern) => ({ ...wanted, patterns: [pattern] })) ?? [wanted];
  const found = await Promise.all(each.map((one) => findCached(cache, commit, one)));
  const wildcard = wanted.patterns?.some((pattern) => pattern.includes('*')) ?? false;
  const complete = !wildcard && found.every(({ missing }) => missing.length === 0);
  return complete ? found[0]?.folder : undefined;
}

/**
 * Folder of the snapshot that the target's revision last stood for.
 * @param why the network is not asked.
 * @throws OfflineError: what is wanted is not there.
 */
export async function fromCache(
  cache: CachedRepository,
  target: HubTarget,
  wanted: Wanted,
  why: string,
  cause?: unknown,
): Promise<string> {
  const { repo, revision } = target;
  const commit = await cache.commitOf(revision);
  const found = commit === undefined ? undefined : await findCached(cache, commit, wanted);
  if (found?.missing.length === 0) return found.folder;
  throw new OfflineError(`${repo} at revision ${revision} is not in the cache, and ${why}`, {
    subject: repo,
    expected: found ? found.missing.join(', ') : 'a snapshot of this revision',
    file: found ? found.folder : cache.snapshot(''),
    remedy: cause
      ? 'Check the network connection, a proxy, and HF_ENDPOINT; or give a local folder.'
      : 'Download it once with the network, or give a local folder.',
    cause,
  });
}

/** Brings `files` into the snapshot of the target's commit. */
async function download(
  target: HubTarget,
  cache: CachedRepository,
  files: readonly RemoteFile[],
  callback: ProgressCallback | undefined,
): Promise<void> {
  const { repo, revision: commit, signal } = target;
  for (const file of files) {
    throwIfAborted(signal);
    const progress = new FileProgress(callback, repo, file.path, file.size);
    progress.initiate();
    if (!(await cache.has(commit, file.path, file.size))) {
      const { hex } = file.hash;
      if (!(await cache.hasBlob(hex, file.size))) await downloadBlob(target, file, cache, progress);
      await cache.link(commit, file.path, hex).catch((error: unknown) => {
        throw cacheError(error, cache.snapshot(commit));
      });
    }
    progress.done();
  }
}

/**
 * Folder of the snapshot that the target's revision stands for now, with what is wanted in it.
 * @throws FileNotFoundError, HubError and its subclasses, AbortError; what the progress callback throws
 */
export async function fromHub(
  cache: CachedRepository,
  target: HubTarget,
  wanted: Wanted,
  progress_callback: ProgressCallback | undefined,
): Promise<string> {
  const { subfolder, patterns, use_safetensors } = wanted;
  const commit = await resolveCommit(target);
  const pinned = { ...target, revision: commit };
  const folder = join(cache.snapshot(commit), subfolder);
  const prefix = subfolder === '' ? '' : `${subfolder}/`;
  const listed = new Map<string, RemoteFile>();
  for (const file of await listFolder(pinned, subfolder)) {
    if (file.path.startsWith(prefix)) listed.set(file.path.slice(prefix.length), file);
  }
  const names = [...listed.keys()].filter(isPlainFileName);
  const fetchAll = (chosen: readonly string[]) => {
    const files = chosen.map((name) => listed.get(name) as RemoteFile);
    return download(pinned, cache, files, progress_callback);
  };

  const needed = patterns ?? weightFiles(use_safetensors);
  const selected =
    patterns === undefined
      ? selectModelFiles(names, use_safetensors)
      : selectByPatterns(names, patterns);
  if (selectByPatterns(selected, needed).length === 0) {
    const foreign = foreignFormat(names);
    throw new FileNotFoundError(
      `${target.repo} has no files to load at revision ${target.revision}`,
      {
        subject: target.repo,
        expected: needed.join(', '),
        found: foreign?.found ?? (names.slice(0, 30).join(', ') || 'an empty folder'),
        remedy: foreign?.remedy ?? 'Check the id, the revision and the subfolder.',
      },
    );
  }
  await fetchAll(selected);
  if (patterns === undefined) {
    const shards = await listShards(folder, use_safetensors);
    const missing = shards.filter((shard) => !names.includes(shard));
    if (missing.length > 0) {
      throw new FileNotFoundError(`${target.repo} lacks files that its index lists`, {
        subject: target.repo,
        expected: shards.join(', '),
        found: `no ${missing.join(', ')}`,
        remedy: 'The upload seems incomplete; try another revision.',
      });
    }
    await fetchAll(shards);
  }
  await cache.setCommit(target.revision, commit);
  return folder;
}
