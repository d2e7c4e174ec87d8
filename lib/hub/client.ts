import { AbortError, HubError, KomtError } from '../errors.js';
import { isCommit } from './cache.js';
import { ANSWER_DEADLINE, MAX_ANSWER_BYTES, MAX_LISTING_PAGES } from './limits.js';
import { type HubTarget, request, TemporaryHubError, waitToRetry } from './request.js';

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

/**
 * `fetch` as @huggingface/hub wants it, for one call of the API: its answers are held to their number, size
 * and time, and tried again when the server has trouble.
 */
function apiFetch(target: HubTarget): typeof fetch {
  let pages = 0;
  return async (input) => {
    if (++pages > MAX_LISTING_PAGES) {
      throw new HubError(`The Hub's listing of ${target.repo} does not end`, {
        subject: target.repo,
        expected: `at most ${MAX_LISTING_PAGES} pages`,
        found: 'another page',
        remedy: 'Keep the model in a subfolder with fewer files, or check HF_ENDPOINT.',
      });
    }
    const address = String(input instanceof Request ? input.url : input);
    for (let tries = 1; ; tries++) {
      try {
        return await wholeAnswer(target, address);
      } catch (error) {
        // Without a connection the cache may serve: that is for the caller to find out soon.
        if (!(error instanceof TemporaryHubError)) throw error;
        if (!(await waitToRetry(target, tries, error))) throw error;
      }
    }
  };
}

async function wholeAnswer(target: HubTarget, address: string): Promise<Response> {
  const { status, headers, body } = await request(target, address, 'HF_HUB_ETAG_TIMEOUT');
  const deadline = Date.now() + ANSWER_DEADLINE;
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) tooMuch(target, `at most ${MAX_ANSWER_BYTES} bytes`, 'more');
    if (Date.now() > deadline) {
      tooMuch(target, `the whole within ${ANSWER_DEADLINE / 1000} s`, `${bytes} bytes by then`);
    }
    chunks.push(chunk);
  }
  return new Response(Buffer.concat(chunks), { status, headers });
}

function tooMuch(target: HubTarget, expected: string, found: string): never {
  throw new HubError(`The Hub's answer for ${target.repo} is beyond all measure`, {
    subject: target.repo,
    expected,
    found,
    remedy: 'Check HF_ENDPOINT, and proxies on the way.',
  });
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
      fetch: apiFetch(target),
    }),
  );
  if (typeof info.sha !== 'string' || !isCommit(info.sha)) malformed(target, 'commit', info.sha);
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
      fetch: apiFetch(target),
    });
    for await (const { type, path, size, oid, lfs } of listing) {
      if (type !== 'file') continue;
      if (typeof path !== 'string') malformed(target, 'file name', path);
      const hash =
        lfs == null
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
