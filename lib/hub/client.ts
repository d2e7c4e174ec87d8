import {
  AbortError,
  FileNotFoundError,
  GatedRepositoryError,
  HubError,
  KomtError,
  OfflineError,
  RepositoryNotFoundError,
  RevisionNotFoundError,
  throwIfAborted,
} from '../errors.js';
import { isCommit } from './cache.js';

/** Loaded when it is first needed: it is large, and a local folder needs nothing of it. */
const hubLibrary = () => import('@huggingface/hub');

/** A file of a repository at one commit. */
export interface RemoteFile {
  /** Path within the repository, with forward slashes. */
  path: string;
  /** Bytes. */
  size: number;
  /** Name of its blob in the cache, and the hash it is held to. */
  hash: { algorithm: 'sha256' | 'git-sha1'; hex: string };
}

/** Where requests go, for what, and on whose behalf. */
export interface HubTarget {
  /** Address without a slash at the end. */
  endpoint: string;
  /** Repository id. */
  repo: string;
  revision: string;
  token?: string;
  signal?: AbortSignal;
}

/** The network failed before an answer came, or broke the answer off: worth another try, or the cache. */
export class ConnectionError extends OfflineError {}

/** The server's trouble, not the request's: worth another try. */
export class TemporaryHubError extends HubError {}

/** What an HTTP status and the Hub's X-Error-Code mean; as in huggingface_hub's `hf_raise_for_status`. */
function responseError(response: Response, target: HubTarget): KomtError {
  const { repo, revision, token } = target;
  const code = response.headers.get('X-Error-Code');
  const { status } = response;
  const details = {
    subject: repo,
    found: `HTTP ${status}${said(response)}`,
  };
  if (code === 'RevisionNotFound') {
    return new RevisionNotFoundError(`${repo} has no revision ${revision}`, {
      ...details,
      remedy: 'Give a branch, a tag or a commit of the repository.',
    });
  }
  if (code === 'EntryNotFound') {
    return new FileNotFoundError(`${repo} has no such file at revision ${revision}`, {
      ...details,
      file: decodeURI(new URL(response.url).pathname),
    });
  }
  if (code === 'GatedRepo' || (status === 403 && code === null)) {
    return new GatedRepositoryError(`Access to ${repo} must be granted by its owner`, {
      ...details,
      remedy:
        `Accept its terms at ${target.endpoint}/${repo}, and ` +
        (token === undefined
          ? 'log in: set HF_TOKEN or pass token.'
          : 'use a token that may read gated repositories.'),
    });
  }
  if (code === 'RepoNotFound' || status === 401 || status === 404) {
    return new RepositoryNotFoundError(`There is no repository ${repo} that you may see`, {
      ...details,
      remedy:
        'Check its name. ' +
        (token === undefined
          ? 'If it is private, set HF_TOKEN or pass token.'
          : 'If it is private, check that the token is valid and may read it.'),
    });
  }
  if (status === 429 || status >= 500) {
    return new TemporaryHubError(`The Hub did not serve ${repo}`, {
      ...details,
      remedy: 'Try again later.',
    });
  }
  return new HubError(`The Hub refused a request for ${repo}`, details);
}

function said(response: Response): string {
  const message = response.headers.get('X-Error-Message');
  return message === null ? '' : `: ${message.slice(0, 300)}`;
}

/** What a failed `fetch` or a broken body means. */
export function connectionError(error: unknown, target: HubTarget): Error {
  if (error instanceof KomtError) return error;
  if (target.signal?.aborted) return new AbortError(target.signal.reason);
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return new ConnectionError(`${target.endpoint} cannot be reached for ${target.repo}`, {
    subject: target.repo,
    found: cause instanceof Error ? cause.message || cause.name : String(cause),
    remedy: 'Check the network connection, a proxy, and HF_ENDPOINT.',
    cause: error,
  });
}

/**
 * `fetch` for one target: sends the token to the Hub's own address only, and throws the library's
 * errors for everything but success.
 */
export function hubFetch(target: HubTarget): typeof fetch {
  return async (input, init) => {
    throwIfAborted(target.signal);
    const url = new URL(input instanceof Request ? input.url : input);
    const headers = new Headers(init?.headers);
    if (target.token !== undefined && url.origin === new URL(target.endpoint).origin) {
      headers.set('Authorization', `Bearer ${target.token}`);
    }
    let response: Response;
    try {
      response = await fetch(url, { ...init, headers, signal: target.signal });
    } catch (error) {
      throw connectionError(error, target);
    }
    if (response.ok) return response;
    await response.body?.cancel();
    throw responseError(response, target);
  };
}

function malformed(target: HubTarget, what: string, found: unknown): never {
  throw new HubError(`The Hub gave a malformed ${what} for ${target.repo}`, {
    subject: target.repo,
    found,
    remedy: 'Check HF_ENDPOINT.',
  });
}

/**
 * The commit that the target's revision stands for.
 * @throws HubError and its subclasses, AbortError
 */
export async function resolveCommit(target: HubTarget): Promise<string> {
  const { modelInfo } = await hubLibrary();
  const info = await call(target, () =>
    modelInfo({
      name: target.repo,
      revision: target.revision,
      hubUrl: target.endpoint,
      additionalFields: ['sha'],
      fetch: hubFetch(target),
    }),
  );
  if (!isCommit(info.sha)) malformed(target, 'commit', info.sha);
  return info.sha;
}

/**
 * Files that lie directly in `folder` ('' for the root) at the target's revision.
 * @throws HubError and its subclasses, FileNotFoundError (no such folder), AbortError
 */
export async function listFolder(target: HubTarget, folder: string): Promise<RemoteFile[]> {
  return call(target, async () => {
    const files: RemoteFile[] = [];
    const { listFiles } = await hubLibrary();
    const listing = listFiles({
      repo: { type: 'model', name: target.repo },
      revision: target.revision,
      path: encodePath(folder),
      hubUrl: target.endpoint,
      fetch: hubFetch(target),
    });
    for await (const { type, path, size, oid, lfs } of listing) {
      if (type !== 'file') continue;
      const hash =
        lfs === undefined
          ? ({ algorithm: 'git-sha1', hex: oid ?? '' } as const)
          : ({ algorithm: 'sha256', hex: lfs.oid } as const);
      const bytes = lfs?.size ?? size;
      const digits = hash.algorithm === 'sha256' ? 64 : 40;
      if (!/^[0-9a-f]+$/.test(hash.hex) || hash.hex.length !== digits) {
        malformed(target, 'hash', hash.hex);
      }
      if (!Number.isSafeInteger(bytes) || bytes < 0) malformed(target, 'file size', bytes);
      files.push({ path, size: bytes, hash });
    }
    return files;
  });
}

/** Runs a request of @huggingface/hub; what it throws beside our own errors is an answer it could not read. */
async function call<T>(target: HubTarget, request: () => Promise<T>): Promise<T> {
  try {
    return await request();
  } catch (error) {
    if (error instanceof KomtError) throw error;
    if (target.signal?.aborted) throw new AbortError(target.signal.reason);
    throw new HubError(`The Hub's answer for ${target.repo} could not be read`, {
      subject: target.repo,
      found: error instanceof Error ? error.message : String(error),
      remedy: 'Check the network connection, a proxy, and HF_ENDPOINT.',
      cause: error,
    });
  }
}

/** Percent-encodes each segment of a path. */
export function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}
