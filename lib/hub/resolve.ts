import { stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { isPlainFileName } from '../checkpoint/file.js';
import { foreignFormat } from '../checkpoint/foreign-formats.js';
import {
  FileNotFoundError,
  InvalidArgumentError,
  invalidArgument,
  throwIfAborted,
} from '../errors.js';
import { CachedRepository, isCommit } from './cache.js';
import { accessToken, cacheFolder, endpoint, expandHome, isOffline } from './environment.js';
import type { ProgressCallback } from './progress.js';
import { ConnectionError, type HubTarget } from './request.js';
import { completeSnapshot, fromCache, fromHub, type Wanted } from './snapshot.js';

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
  /** True takes nothing but safetensors, false prefers pytorch_model*.bin. Default: safetensors preferred. */
  use_safetensors?: boolean;
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
      remedy: foreignFormat([path])?.remedy ?? `Give ${dirname(path)}.`,
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
  const { signal, patterns, use_safetensors, progress_callback } = options;
  throwIfAborted(signal);
  for (const name of ['revision', 'cache_dir', 'subfolder'] as const) {
    const value: unknown = options[name] ?? '';
    if (typeof value !== 'string') throw invalidArgument(name, 'a text', value);
  }
  if (progress_callback != null && typeof progress_callback !== 'function') {
    throw invalidArgument('progress_callback', 'a function', progress_callback);
  }
  const subfolder = checkRelative('subfolder', options.subfolder ?? '');
  const local = await localFolder(idOrPath);
  if (local !== undefined) return (await localFolder(join(local, subfolder))) as string;

  checkRepositoryId(idOrPath);
  const revision = checkRelative('revision', options.revision ?? 'main') || 'main';
  const cache = new CachedRepository(cacheFolder(options.cache_dir), idOrPath);
  const target: HubTarget = { endpoint: endpoint(), repo: idOrPath, revision, signal };
  const wanted: Wanted = { subfolder, patterns, use_safetensors };
  if (options.local_files_only === true || isOffline()) {
    const why = options.local_files_only ? 'local_files_only is set' : 'HF_HUB_OFFLINE is set';
    return fromCache(cache, target, wanted, why);
  }
  if (isCommit(revision)) {
    // A commit never changes: what is there in whole needs no request.
    const complete = await completeSnapshot(cache, revision, wanted);
    if (complete !== undefined) return complete;
  }
  target.token = accessToken(options.token);
  try {
    return await fromHub(cache, target, wanted, progress_callback);
  } catch (error) {
    if (!(error instanceof ConnectionError)) throw error;
    const why = `${target.endpoint} cannot be reached (${error.found})`;
    return fromCache(cache, target, wanted, why, error);
  }
}
