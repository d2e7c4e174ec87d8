import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { constants, type FileHandle, mkdir, open, rename, rm, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DownloadError, HubError, throwIfAborted } from '../errors.js';
import type { CachedRepository } from './cache.js';
import { encodePath, type RemoteFile } from './client.js';
import { claimPartial, releasePartial } from './partial.js';
import type { FileProgress } from './progress.js';
import {
  ConnectionError,
  type HubResponse,
  type HubTarget,
  isTemporary,
  request,
  waitToRetry,
} from './request.js';

/** What came is wrong, or takes space that is lacking: it is not kept to continue from. */
class UselessPartialError extends DownloadError {}

function startHash(file: RemoteFile): Hash {
  const { algorithm } = file.hash;
  if (algorithm === 'sha256') return createHash('sha256');
  // Git hashes a blob with this in front of its content.
  return createHash('sha1').update(`blob ${file.size}\0`);
}

/** Errors of the cache's file system, in the library's words; every other error as it is. */
export function cacheError(error: unknown, path: string): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (syscall === undefined) return error;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new UselessPartialError('The disk of the cache is full', {
      file: path,
      remedy: 'Free some space, or point HF_HUB_CACHE or cache_dir to another disk.',
      cause: error,
    });
  }
  const denied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
  return new HubError(
    denied ? 'No permission to write to the cache' : 'Writing to the cache failed',
    {
      file: path,
      found: denied ? undefined : code,
      remedy: 'Point HF_HUB_CACHE or cache_dir to a folder of your own.',
      cause: error,
    },
  );
}

async function checkSpace(folder: string, bytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize >= bytes) return;
  throw new UselessPartialError('There is not enough space for the download', {
    file: folder,
    expected: `${bytes} bytes`,
    found: `${bavail * bsize} bytes`,
    remedy: 'Free some space, or point HF_HUB_CACHE or cache_dir to another disk.',
  });
}

/** One file on its way into the cache. */
class Transfer {
  private loaded = 0;
  private hash: Hash;

  constructor(
    private readonly target: HubTarget,
    private readonly file: RemoteFile,
    private readonly partial: string,
    private readonly handle: FileHandle,
    private readonly progress: FileProgress,
  ) {
    this.hash = startHash(file);
  }

  /** Takes over what an earlier transfer left, and hashes it. */
  async resume(): Promise<void> {
    const { size } = await this.handle.stat();
    if (size > this.file.size) {
      await this.handle.truncate(0);
      return;
    }
    if (size === 0) return;
    for await (const chunk of createReadStream(this.partial)) {
      throwIfAborted(this.target.signal);
      this.hash.update(chunk as Buffer);
    }
    this.loaded = size;
  }

  /** Receives what is missing, in as many tries as it takes while each brings something. */
  async run(): Promise<void> {
    let failures = 0;
    while (this.loaded < this.file.size) {
      const before = this.loaded;
      try {
        await this.receive();
      } catch (error) {
        if (!isTemporary(error)) throw error;
        failures = this.loaded > before ? 1 : failures + 1;
        if (!(await waitToRetry(this.target, failures, error))) throw this.brokenOff(error);
      }
    }
    await this.verify();
  }

  private brokenOff(cause: Error): DownloadError {
    return new DownloadError(`The transfer of ${this.file.path} broke off`, {
      subject: this.target.repo,
      expected: `${this.file.size} bytes`,
      found: `${this.loaded} bytes: ${cause.message}`,
      remedy: 'Try again; what came is kept and continued from.',
      cause,
    });
  }

  private async receive(): Promise<void> {
    const { target, file } = this;
    const url = `${target.endpoint}/${target.repo}/resolve/${target.revision}/${encodePath(file.path)}`;
    const headers: Record<string, string> = { 'Accept-Encoding': 'identity' };
    if (this.loaded > 0) headers.Range = `bytes=${this.loaded}-`;
    const answer = await request(target, url, 'HF_HUB_DOWNLOAD_TIMEOUT', headers);
    let restart = this.loaded > 0 && !this.continues(answer);
    for await (const chunk of answer.body) {
      if (restart) await this.restart();
      restart = false;
      await this.write(chunk);
      this.progress.progress(this.loaded);
    }
    if (this.loaded < file.size) {
      throw new ConnectionError('The server ended its answer too early');
    }
  }

  /** False where the server sends the whole file although the rest was asked for. */
  private continues({ status, headers }: HubResponse): boolean {
    const range = headers.get('Content-Range');
    return status === 206 && range?.startsWith(`bytes ${this.loaded}-`) === true;
  }

  private async restart(): Promise<void> {
    await this.handle.truncate(0);
    this.hash = startHash(this.file);
    this.loaded = 0;
  }

  private async write(chunk: Uint8Array): Promise<void> {
    if (this.loaded + chunk.length > this.file.size) {
      throw this.mismatch('size', `${this.file.size} bytes`, 'more than that');
    }
    for (let done = 0; done < chunk.length; ) {
      const rest = chunk.length - done;
      const { bytesWritten } = await this.handle.write(chunk, done, rest, this.loaded + done);
      done += bytesWritten;
    }
    this.hash.update(chunk);
    this.loaded += chunk.length;
  }

  private async verify(): Promise<void> {
    const digest = this.hash.digest('hex');
    const { algorithm, hex } = this.file.hash;
    if (digest !== hex) throw this.mismatch('hash', `${algorithm} ${hex}`, digest);
    await this.handle.sync();
  }

  private mismatch(what: string, expected: string, found: string): UselessPartialError {
    return new UselessPartialError(`What came for ${this.file.path} has another ${what}`, {
      subject: this.target.repo,
      expected,
      found,
      remedy: 'It was thrown away. Try again; if it stays so, check proxies and HF_ENDPOINT.',
    });
  }
}

/**
 * Brings one file into the cache's blobs: continued from where an earlier transfer broke off, held to
 * its size and hash, and under its final name only when whole.
 * @param target with a commit for its revision.
 * @throws DownloadError, HubError and its subclasses, AbortError; what the progress callback throws
 */
export async function downloadBlob(
  target: HubTarget,
  file: RemoteFile,
  cache: CachedRepository,
  progress: FileProgress,
): Promise<void> {
  const blob = cache.blob(file.hash.hex);
  let partial: string | undefined;
  try {
    await mkdir(dirname(blob), { recursive: true });
    partial = await claimPartial(blob);
    await transferTo(partial, target, file, progress);
    await rename(partial, blob);
  } catch (error) {
    // A callback may throw an error of the file system too, which is the caller's.
    const worded = progress.threw(error) ? error : cacheError(error, blob);
    if (partial !== undefined) {
      if (worded instanceof UselessPartialError) await rm(partial, { force: true });
      else await releasePartial(blob, partial);
    }
    throw worded;
  }
}

async function transferTo(
  partial: string,
  target: HubTarget,
  file: RemoteFile,
  progress: FileProgress,
): Promise<void> {
  // Reading and writing at positions, without cutting off what is there.
  const handle = await open(partial, constants.O_RDWR | constants.O_CREAT, 0o644);
  try {
    const transfer = new Transfer(target, file, partial, handle, progress);
    await transfer.resume();
    await checkSpace(dirname(partial), file.size - (await handle.stat()).size);
    progress.download();
    await transfer.run();
  } finally {
    await handle.close();
  }
}
