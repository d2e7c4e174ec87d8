import { constants, type Stats } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { CheckpointError, FileNotFoundError, type KomtError, throwIfAborted } from './errors.js';

/** Class of the errors that a reader of files throws. */
export type FileErrorClass = new (...args: ConstructorParameters<typeof KomtError>) => KomtError;

/** How a file of a model's folder is opened. */
export interface OpenFileOptions {
  signal?: AbortSignal;
  /** Class of the errors; a file that is not there is a {@link FileNotFoundError} always. Default: CheckpointError. */
  error?: FileErrorClass;
}

/** How much of a file may be read into memory. */
export interface ReadFileOptions extends OpenFileOptions {
  /** Refused before anything is read where the file is longer. */
  maxBytes: number;
  /** What the file is, for messages. Default: its path. */
  what?: string;
}

/** A file opened for reading byte ranges. */
export interface RangeReader {
  /** Path as it was given. */
  readonly path: string;
  /** Size in bytes when it was opened. */
  readonly size: number;
  /**
   * Exactly `length` bytes from `offset`.
   * @throws the class of {@link OpenFileOptions} where the file is shorter than that; AbortError
   */
  read(offset: number, length: number): Promise<Buffer>;
}

// Opening a FIFO waits for its writer, and a terminal may become the process's own, but for these
// flags; Windows has neither. libuv adds O_CLOEXEC to every open.
const OPEN_FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0);

/** An abort is seen after each piece; larger ones are no faster. */
const PIECE_BYTES = 4 * 1024 * 1024;

/** Errors of the file system, in the library's words; every other error as it is. */
export function fileError(
  error: unknown,
  path: string,
  ErrorClass: FileErrorClass = CheckpointError,
): unknown {
  const { code, syscall } = (error ?? {}) as NodeJS.ErrnoException;
  if (syscall === undefined && code !== 'ERR_INVALID_ARG_VALUE') return error;
  const details = { file: path, cause: error };
  switch (code) {
    case 'ERR_INVALID_ARG_VALUE': // a NUL character in the path
    case 'ENOENT':
    case 'ENOTDIR':
      return new FileNotFoundError(`${path} does not exist`, {
        ...details,
        remedy: 'Check the path, or download the model again.',
      });
    case 'EACCES':
    case 'EPERM':
      return new ErrorClass(`No permission to read ${path}`, {
        ...details,
        remedy: 'Make the file readable for this user.',
      });
    case 'EISDIR':
      return new ErrorClass(`${path} is not a regular file`, { ...details, found: 'a directory' });
    case 'ELOOP':
      return new ErrorClass(`${path} is a symbolic link that leads to itself`, {
        ...details,
        remedy: 'Remove the link, and download the file again.',
      });
    default:
      return new ErrorClass(`Reading ${path} failed with ${code}`, details);
  }
}

function kindOf(stats: Stats): string {
  if (stats.isDirectory()) return 'a directory';
  if (stats.isFIFO()) return 'a named pipe';
  if (stats.isSocket()) return 'a socket';
  return 'a device';
}

function requireRegularFile(stats: Stats, path: string, ErrorClass: FileErrorClass): void {
  if (stats.isFile()) return;
  throw new ErrorClass(`${path} is not a regular file`, {
    file: path,
    found: kindOf(stats),
    remedy: 'A model consists of plain files; download it again from a source you trust.',
  });
}

/**
 * Opens a regular file, hands it to `use`, and closes it whatever happens. Symbolic links are followed,
 * as the Hub's cache consists of them, but pipes, devices, sockets and directories are never read from.
 * @throws FileNotFoundError, AbortError, and the class of the options
 */
export async function withFile<T>(
  path: string,
  use: (reader: RangeReader) => Promise<T>,
  { signal, error: ErrorClass = CheckpointError }: OpenFileOptions = {},
): Promise<T> {
  throwIfAborted(signal);
  let handle: FileHandle | undefined;
  try {
    // Asked before it is opened, as opening some devices has effects, and again after, as the name may
    // stand for another file by then.
    requireRegularFile(await stat(path), path, ErrorClass);
    handle = await open(path, OPEN_FLAGS);
    const stats = await handle.stat();
    requireRegularFile(stats, path, ErrorClass);
    return await use(new OpenFile(handle, path, stats.size, ErrorClass, signal));
  } catch (error) {
    throw fileError(error, path, ErrorClass);
  } finally {
    await handle?.close();
  }
}

class OpenFile implements RangeReader {
  constructor(
    private readonly handle: FileHandle,
    readonly path: string,
    readonly size: number,
    private readonly ErrorClass: FileErrorClass,
    private readonly signal: AbortSignal | undefined,
  ) {}

  async read(offset: number, length: number): Promise<Buffer> {
    if (offset + length > this.size) throw this.truncated(offset + length, this.size);
    const buffer = Buffer.allocUnsafeSlow(length);
    let done = 0;
    while (done < length) {
      throwIfAborted(this.signal);
      const piece = Math.min(PIECE_BYTES, length - done);
      const { bytesRead } = await this.handle.read(buffer, done, piece, offset + done);
      // Shorter than it was a moment ago.
      if (bytesRead === 0) throw this.truncated(offset + length, offset + done);
      done += bytesRead;
    }
    return buffer;
  }

  private truncated(expected: number, found: number): KomtError {
    return new this.ErrorClass('The file ends too early', {
      file: this.path,
      expected: `at least ${expected} bytes`,
      found: `${found} bytes`,
      remedy: 'It was probably not copied or downloaded to its end; fetch it again.',
    });
  }
}

/**
 * A whole file, which must be a regular one of at most `maxBytes`. Nothing beyond the size that it had
 * when it was opened is read, so that a growing file costs no more.
 * @throws FileNotFoundError, AbortError, and the class of the options
 */
export async function readBoundedFile(path: string, options: ReadFileOptions): Promise<Buffer> {
  const { maxBytes, what = path, error: ErrorClass = CheckpointError } = options;
  return withFile(
    path,
    async (reader) => {
      if (reader.size > maxBytes) {
        throw new ErrorClass(`${what} is too large for what it should hold`, {
          file: path,
          expected: `at most ${maxBytes} bytes`,
          found: `${reader.size} bytes`,
        });
      }
      return reader.read(0, reader.size);
    },
    options,
  );
}

/**
 * As {@link readBoundedFile}, decoded as strict UTF-8; a byte order mark at the start is skipped.
 * @throws FileNotFoundError, AbortError, and the class of the options
 */
export async function readBoundedText(path: string, options: ReadFileOptions): Promise<string> {
  return decodeUtf8(skipByteOrderMark(await readBoundedFile(path, options)), path, options.error);
}

// A byte order mark is a part of the text unless it stands at the start of a file.
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** @throws `ErrorClass` where `bytes` is not UTF-8. */
export function decodeUtf8(
  bytes: Uint8Array,
  path: string,
  ErrorClass: FileErrorClass = CheckpointError,
): string {
  try {
    return strictUtf8.decode(bytes);
  } catch (cause) {
    throw new ErrorClass('Text in the file is not valid UTF-8', { file: path, cause });
  }
}

/** `bytes` without the UTF-8 byte order mark that some editors put at the start of a file. */
export function skipByteOrderMark(bytes: Uint8Array): Uint8Array {
  const marked = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  return marked ? bytes.subarray(3) : bytes;
}
