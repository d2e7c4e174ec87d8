import { type FileHandle, open } from 'node:fs/promises';
import { CheckpointError, FileNotFoundError } from '../errors.js';

/** A file opened for reading byte ranges. */
export interface RangeReader {
  /** Absolute path. */
  readonly path: string;
  /** Size in bytes when it was opened. */
  readonly size: number;
  /**
   * Exactly `length` bytes from `offset`.
   * @throws CheckpointError where the file is shorter than that.
   */
  read(offset: number, length: number): Promise<Buffer>;
}

/** Errors of the file system, in the library's words; every other error as it is. */
export function fileError(error: unknown, path: string): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (syscall === undefined) return error;
  if (code === 'ENOENT' || code === 'ENOTDIR') {
    return new FileNotFoundError(`${path} does not exist`, {
      file: path,
      remedy: 'Check the path, or download the model again.',
      cause: error,
    });
  }
  if (code === 'EACCES' || code === 'EPERM') {
    return new CheckpointError(`No permission to read ${path}`, {
      file: path,
      remedy: 'Make the file readable for this user.',
      cause: error,
    });
  }
  if (code === 'EISDIR') return notAFile(path, error);
  return new CheckpointError(`Reading ${path} failed with ${code}`, { file: path, cause: error });
}

function notAFile(path: string, cause?: unknown): CheckpointError {
  return new CheckpointError(`${path} is not a regular file`, { file: path, cause });
}

async function readRange(
  handle: FileHandle,
  path: string,
  size: number,
  offset: number,
  length: number,
): Promise<Buffer> {
  const truncated = (found: number) =>
    new CheckpointError('The file ends too early', {
      file: path,
      expected: `at least ${offset + length} bytes`,
      found: `${found} bytes`,
      remedy: 'It was probably not copied or downloaded to its end; fetch it again.',
    });
  if (offset + length > size) throw truncated(size);
  const buffer = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await handle.read(buffer, done, length - done, offset + done);
    if (bytesRead === 0) throw truncated(offset + done);
    done += bytesRead;
  }
  return buffer;
}

/**
 * Opens `path`, hands it to `use`, and closes it whatever happens. Symbolic links are followed, as the
 * Hub's cache consists of them.
 * @throws FileNotFoundError, CheckpointError
 */
export async function withFile<T>(
  path: string,
  use: (reader: RangeReader) => Promise<T>,
): Promise<T> {
  let handle: FileHandle;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    throw fileError(error, path);
  }
  try {
    const stat = await handle.stat();
    if (!stat.isFile()) throw notAFile(path);
    const reader: RangeReader = {
      path,
      size: stat.size,
      read: (offset, length) => readRange(handle, path, stat.size, offset, length),
    };
    return await use(reader);
  } catch (error) {
    throw fileError(error, path);
  } finally {
    await handle.close();
  }
}

/**
 * A small text file, decoded as strict UTF-8.
 * @throws FileNotFoundError, CheckpointError (longer than `limit` bytes, or not UTF-8)
 */
export async function readTextFile(path: string, limit: number): Promise<string> {
  return withFile(path, async (reader) => {
    if (reader.size > limit) {
      throw new CheckpointError(`${path} is too large for what it should hold`, {
        file: path,
        expected: `at most ${limit} bytes`,
        found: `${reader.size} bytes`,
      });
    }
    return decodeUtf8(await reader.read(0, reader.size), path);
  });
}

/** @throws CheckpointError where `bytes` is not UTF-8. */
export function decodeUtf8(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new CheckpointError('Text in the file is not valid UTF-8', { file: path, cause });
  }
}

/**
 * Recognises what is often found in place of weights: a Git LFS pointer, GGUF, or a web page.
 * @throws CheckpointError
 */
export async function refusePlaceholders(reader: RangeReader): Promise<void> {
  const head = (await reader.read(0, Math.min(64, reader.size))).toString('latin1');
  if (head.startsWith('version https://git-lfs')) {
    throw new CheckpointError(`${reader.path} is a Git LFS pointer and not the weights`, {
      file: reader.path,
      remedy: 'Run `git lfs pull` in that folder, or download the file itself.',
    });
  }
  if (head.startsWith('GGUF')) {
    throw new CheckpointError(`${reader.path} is a GGUF file under another name`, {
      file: reader.path,
      remedy: 'GGUF cannot be read: use the safetensors files that it was converted from.',
    });
  }
  if (/^\s*<(!doctype|html)/i.test(head)) {
    throw new CheckpointError(`${reader.path} is a web page and not the weights`, {
      file: reader.path,
      remedy: 'The download was answered with a page (a login, an error); download it again.',
    });
  }
}

/** True for a name within one folder on every platform: no separator, drive, parent or control character. */
export function isPlainFileName(name: string): boolean {
  return name.length > 0 && name.length <= 255 && !/[\\/:\p{Cc}]|^\.+$/u.test(name);
}
