import { readdir, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { isPlainFileName } from '../checkpoint/file.js';
import {
  FileNotFoundError,
  InvalidArgumentError,
  invalidArgument,
  OfflineError,
  throwIfAborted,
} from '../errors.js';
import { CachedRepository, isCommit } from './cache.js';
import {
  ConnectionError,
  type HubTarget,
  listFolder,
  type RemoteFile,
  resolveCommit,
} from './client.js';
import { cacheError, downloadBlob } from './download.js';
import { accessToken, cacheFolder, endpoint, expandHome, isOffline } from './environment.js';
import {
  listShards,
  missingModelFiles,
  selectByPatterns,
  selectModelFiles,
  WEIGHT_FILES,
} from './model-files.js';
import { FileProgress, type ProgressCallback } from './progress.js';

/** Options with which every `from_pretrained` finds its files; names are Hugging Face's. */
export interface HubOptions {
  /** Branch, tag or commit. Default: "main". */
  revision?: string;
  /** Folder of the cache. Default: HF_HUB_CACHE, else `hub` in HF_HOME, else ~/.cache/huggingface/hub. */
  cache_dir?: string;
  /** Access token; `false` sends none. Default: HF_TOKEN, else the token of `hf auth login`. */
  token?: string | boolean | null;
  /** Take what is in the cache and never ask the network. Default: false, or as HF_HUB_OFFLINE says. */
  local_files_only?: boolean;
  /** Folder within the repository or the local folder that holds the model. */
  subfolder?: string;
  progress_callback?: ProgressCallback;
  signal?: AbortSignal;
  /**
   * File names to fetch instead of everything that a model needs; `*` stands for any characters. At
   * least one file must match.
   */
  patterns?: readonly string[];
}

/** Paths that cannot be meant as a repository id: `./x`, `../x`, `/x`, `~/x`, `C:\x`, `a/b/c`, `a/`. */
function looksLocal(path: string): boolean {
  return /^(\.{1,2}$|\.{0,2}[\\/]|~|[a-zA-Z]:)|\\|\/.*\/|\/$/.test(path);
}

async function localFolder(idOrPath: string): Promise<string | undefined> {
  const path = resolve(expandHome(idOrPath));
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory()) return path;
  if (found !== undefined) {
    throw new InvalidArgumentError(`${path} is a file; a model is loaded by its folder`, {
      file: path,
      expected: 'the folder that holds config.json',
    });
  }
  if (!looksLocal(idOrPath)) return undefined;
  throw new FileNotFoundError(`The folder ${path} does not exist`, {
    file: path,
    remedy: 'Check the path. A repository on the Hub is given as "owner/name".',
  });
}

/** As huggingface_hub's `validate_repo_id`. */
function checkRepositoryId(id: string): void {
  const valid = /^([\w.-]+\/)?[\w.-]+$/.test(id) && !/--|\.\.|\.git$/.test(id);
  const edges = id.split('/').every((part) => /^[^.-].*$/.test(part) && /[^.-]$/.test(part));
  if (valid && edges && id.length <= 96) return;
  throw new InvalidArgumentError(
    `${JSON.stringify(id)} is neither a folder nor the id of a repository`,
    { subject: id, expected: 'an existing folder, or "owner/name"' },
  );
}

function checkRelative(name: string, path: string): string {
  const segments = path.split('/').filter((segment) => segment !== '');
  if (path.startsWith('/') || !segments.every(isPlainFileName)) {
    throw invalidArgument(name, 'a relative path without ".."', path);
  }
  return segments.join('/');
}

/** Where `subfolder` of the snapshot would be, if all that is needed is there. */
async function findCached(
  cache: CachedRepository,
  commit: string,
  subfolder: string,
  patterns: readonly string[] | undefined,
): Promise<{ folder: string; missing: string[] }> {
  const folder = join(cache.snapshot(commit), subfolder);
  if (patterns === undefined) return { folder, missing: await missingModelFiles(folder) };
  const names = await readdir(folder).catch(() => []);
  const matches = selectByPatterns(names, patterns);
  return { folder, missing: matches.length > 0 ? [] : [patterns.join(' or ')] };
}

async function fromCache(
  cache: CachedRepository,
  target: HubTarget,
  subfolder: string,
  patterns: readonly string[] | undefined,
  why: string,
  cause?: unknown,
): Promise<string> {
  const { repo, revision } = target;
  const commit = await cache.commitOf(revision);
  const found = commit && (await findCached(cache, commit, subfolder, patterns));
  if (found && found.missing.length === 0) return found.folder;
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

async function fromHub(
  target: HubTarget,
  cache: CachedRepository,
  subfolder: string,
  options: HubOptions,
): Promise<string> {
  const { patterns, progress_callback } = options;
  const commit = await resolveCommit(target);
  const pinned = { ...target, revision: commit };
  const folder = join(cache.snapshot(commit), subfolder);
  const prefix = subfolder === '' ? '' : `${subfolder}/`;
  const listed = new Map<string, RemoteFile>();
  for (const file of await listFolder(pinned, subfolder)) {
    if (file.path.startsWith(prefix)) listed.set(file.path.slice(prefix.length), file);
  }
  const names = [...listed.keys()].filter(isPlainFileName);
  const fetchAll = (wanted: readonly string[]) => {
    const files = wanted.map((name) => listed.get(name) as RemoteFile);
    return download(pinned, cache, files, progress_callback);
  };

  const selected =
    patterns === undefined ? selectModelFiles(names) : selectByPatterns(names, patterns);
  const enough = patterns !== undefined || WEIGHT_FILES.some((name) => selected.includes(name));
  if (selected.length === 0 || !enough) {
    throw new FileNotFoundError(
      `${target.repo} has no files to load at revision ${target.revision}`,
      {
        subject: target.repo,
        expected: (patterns ?? WEIGHT_FILES).join(', '),
        found: names.slice(0, 30).join(', ') || 'an empty folder',
        remedy: 'Check the id, the revision and the subfolder.',
      },
    );
  }
  await fetchAll(selected);
  if (patterns === undefined) {
    const shards = await listShards(folder);
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

/**
 * The local folder with a model's files. A path that exists is that folder, and the network is never
 * asked. An id is looked up on the Hub (HF_ENDPOINT), and its config, tokenizer and weights come into
 * the cache that Python's huggingface_hub shares: safetensors where there are some, else
 * `pytorch_model*.bin`. Without a connection the cache serves what it has.
 *
 * @returns an absolute path; `subfolder` is part of it.
 * @throws FileNotFoundError, InvalidArgumentError, RepositoryNotFoundError, GatedRepositoryError,
 * RevisionNotFoundError, OfflineError, DownloadError, HubError, AbortError
 */
export async function resolveModelDir(idOrPath: string, options: HubOptions = {}): Promise<string> {
  if (typeof idOrPath !== 'string' || idOrPath === '') {
    throw invalidArgument('the model', 'a folder or a repository id', idOrPath);
  }
  const { signal, patterns } = options;
  throwIfAborted(signal);
  const subfolder = checkRelative('subfolder', options.subfolder ?? '');
  const local = await localFolder(idOrPath);
  if (local !== undefined) return (await localFolder(join(local, subfolder))) as string;

  checkRepositoryId(idOrPath);
  const revision = checkRelative('revision', options.revision ?? 'main') || 'main';
  const cache = new CachedRepository(cacheFolder(options.cache_dir), idOrPath);
  const target: HubTarget = { endpoint: endpoint(), repo: idOrPath, revision, signal };
  if (options.local_files_only === true || isOffline()) {
    const why = options.local_files_only ? 'local_files_only is set' : 'HF_HUB_OFFLINE is set';
    return fromCache(cache, target, subfolder, patterns, why);
  }
  if (isCommit(revision)) {
    // A commit never changes: what is there in whole needs no request.
    const { folder, missing } = await findCached(cache, revision, subfolder, patterns);
    if (missing.length === 0) return folder;
  }
  target.token = accessToken(options.token);
  try {
    return await fromHub(target, cache, subfolder, options);
  } catch (error) {
    if (!(error instanceof ConnectionError)) throw error;
    const why = `${target.endpoint} cannot be reached (${error.found})`;
    return fromCache(cache, target, subfolder, patterns, why, error);
  }
}
