/**
 * Every error the library throws on purpose. Each has a stable `code`, and the facts a program may
 * want to act on as properties; the message says what, where, expected, found and the remedy.
 */

/** Facts that make up a message; absent ones are left out. */
export interface ErrorDetails {
  /** File the problem is in. */
  file?: string;
  /** Tensor, field, option or token the problem is about. */
  subject?: string;
  /** What would have been right. */
  expected?: unknown;
  /** What was there. */
  found?: unknown;
  /** What the user can do about it, as a sentence. */
  remedy?: string;
  cause?: unknown;
}

/** Values may come from hostile files and callers: a message quotes this much of them. */
const SHOWN_CHARACTERS = 1000;
const SHOWN_ITEMS = 20;
/** Values in all lists and objects of one that is shown: there is no room for more. */
const SHOWN_VALUES = 1000;

function cut(text: string): string {
  return text.length <= SHOWN_CHARACTERS ? text : `${text.slice(0, SHOWN_CHARACTERS)}...`;
}

/** A replacer for JSON.stringify: the beginning of what is long. */
function abridger(): (key: string, value: unknown) => unknown {
  // A list that holds the same one several times, and so on, has no end that could be waited for.
  let left = SHOWN_VALUES;
  return (_key, value) => {
    if (--left < 0) return '...';
    if (typeof value === 'bigint') return String(value);
    if (typeof value === 'string') return cut(value);
    if (typeof value !== 'object' || value === null) return value;
    if (ArrayBuffer.isView(value) && !(value instanceof DataView)) {
      const items = value as Float32Array;
      const first: unknown[] = Array.from(items.subarray(0, SHOWN_ITEMS));
      return items.length > SHOWN_ITEMS ? [...first, '...'] : first;
    }
    if (Array.isArray(value)) {
      return value.length > SHOWN_ITEMS ? [...value.slice(0, SHOWN_ITEMS), '...'] : value;
    }
    if (Object.keys(value).length > SHOWN_ITEMS) {
      return Object.fromEntries(Object.entries(value).slice(0, SHOWN_ITEMS));
    }
    return value;
  };
}

/** A value as messages show it. Never throws, whatever the value does when it is looked at. */
export function show(value: unknown): string {
  return cut(describe(value));
}

function describe(value: unknown): string {
  if (typeof value === 'string') return value === '' ? '""' : value;
  try {
    // JSON has neither NaN nor infinities, and nothing for functions and symbols.
    if (typeof value !== 'object' || value === null) return String(value);
    return JSON.stringify(value, abridger()) ?? String(value);
  } catch {
    return typeOf(value);
  }
}

function typeOf(value: unknown): string {
  if (value === null) return 'null';
  try {
    return Array.isArray(value) ? 'array' : typeof value;
  } catch {
    // A proxy that was revoked.
    return typeof value;
  }
}

/**
 * Gives an error class its name, which a minifier must not change, and makes `instanceof` know its errors
 * whichever copy of the library made them: `import`, `require` and `komt/kernels` may each have loaded one.
 */
export function identify(errorClass: { prototype: KomtError }, name: string): void {
  const brand = Symbol.for(`komt.errors.${name}`);
  Object.defineProperties(errorClass.prototype, {
    name: { value: name, writable: true, configurable: true },
    [brand]: { value: true },
  });
  Object.defineProperty(errorClass, Symbol.hasInstance, {
    value: function hasInstance(this: unknown, value: unknown): boolean {
      // A class that somebody derived from ours inherits this, and has no brand of its own.
      if (this !== errorClass) return Function.prototype[Symbol.hasInstance].call(this, value);
      return typeof value === 'object' && value !== null && brand in value;
    },
  });
}

/** Base class: `catch (e) { if (e instanceof KomtError) ... }`. */
export class KomtError extends Error {
  /** Stable identifier, such as `ERR_CHECKPOINT`. */
  readonly code: string = 'ERR_KOMT';
  readonly file?: string;
  readonly subject?: string;
  readonly expected?: unknown;
  readonly found?: unknown;
  readonly remedy?: string;

  constructor(message: string, details: ErrorDetails = {}) {
    const { file, subject, expected, found, remedy, cause } = details ?? {};
    let text = typeof message === 'string' ? message : show(message);
    const mentions = (part: unknown) => part === undefined || text.includes(show(part));
    if (expected !== undefined) text += `: expected ${show(expected)}`;
    if (found !== undefined) text += `${expected === undefined ? ':' : ','} found ${show(found)}`;
    if (!mentions(subject)) text += ` (${show(subject)})`;
    if (!mentions(file)) text += ` [${show(file)}]`;
    if (remedy !== undefined) text += `. ${show(remedy)}`;
    super(text, cause === undefined ? undefined : { cause });
    this.file = file;
    this.subject = subject;
    this.expected = expected;
    this.found = found;
    this.remedy = remedy;
  }
}

/** An argument or option that cannot be meant: wrong type, out of range, or two that exclude each other. */
export class InvalidArgumentError extends KomtError {
  override readonly code: string = 'ERR_INVALID_ARGUMENT';
}

/** A checkpoint file that is damaged, incomplete, hostile, or does not fit its config.json. */
export class CheckpointError extends KomtError {
  override readonly code: string = 'ERR_CHECKPOINT';
}

/** A file of the model that is not there. */
export class FileNotFoundError extends CheckpointError {
  override readonly code: string = 'ERR_FILE_NOT_FOUND';
}

/** A config.json that is malformed, or describes an architecture this version cannot run. */
export class UnsupportedModelError extends KomtError {
  override readonly code: string = 'ERR_UNSUPPORTED_MODEL';
}

/** A tokenizer file that is malformed or uses a feature this version does not know; or text it cannot encode. */
export class TokenizerError extends KomtError {
  override readonly code: string = 'ERR_TOKENIZER';
}

/** Something went wrong between here and the Hub. The subclasses say what. */
export class HubError extends KomtError {
  override readonly code: string = 'ERR_HUB';
}
/** No such repository, or a private one and no token that opens it. */
export class RepositoryNotFoundError extends HubError {
  override readonly code: string = 'ERR_REPOSITORY_NOT_FOUND';
}
/** The repository exists, and its owner wants its terms accepted first. */
export class GatedRepositoryError extends HubError {
  override readonly code: string = 'ERR_GATED_REPOSITORY';
}
/** No such branch, tag or commit. */
export class RevisionNotFoundError extends HubError {
  override readonly code: string = 'ERR_REVISION_NOT_FOUND';
}
/** Not in the local cache, and the network may not be used (offline, or `local_files_only`). */
export class OfflineError extends HubError {
  override readonly code: string = 'ERR_OFFLINE';
}
/** A transfer that broke off or does not match its announced size or hash. */
export class DownloadError extends HubError {
  override readonly code: string = 'ERR_DOWNLOAD';
}

/** The native addon could not be loaded; the message lists every place that was tried and the remedies. */
export class NativeLoadError extends KomtError {
  override readonly code: string = 'ERR_NATIVE_LOAD';
}

/** A device that is not there, or reported a failure. */
export class DeviceError extends KomtError {
  override readonly code: string = 'ERR_DEVICE';
}

/** Not enough memory on a device or the host. Everything the failed call had taken is released. */
export class OutOfMemoryError extends KomtError {
  override readonly code: string = 'ERR_OUT_OF_MEMORY';
  /** Bytes asked for. */
  readonly bytesNeeded: number;
  /** Bytes that were free, where known. */
  readonly bytesFree?: number;
  constructor(
    message: string,
    details: ErrorDetails & { bytesNeeded: number; bytesFree?: number },
  ) {
    super(message, details);
    this.bytesNeeded = details?.bytesNeeded;
    this.bytesFree = details?.bytesFree;
  }
}

/** Use of a model, session or tensor after `dispose()`. */
export class DisposedError extends KomtError {
  override readonly code: string = 'ERR_DISPOSED';
}

/** The call was ended by its AbortSignal; `cause` is the signal's reason. */
export class AbortError extends KomtError {
  override readonly code: string = 'ABORT_ERR';
  constructor(reason?: unknown) {
    super('The operation was aborted', { cause: reason });
  }
}

const errorClasses = {
  AbortError,
  CheckpointError,
  DeviceError,
  DisposedError,
  DownloadError,
  FileNotFoundError,
  GatedRepositoryError,
  HubError,
  InvalidArgumentError,
  KomtError,
  NativeLoadError,
  OfflineError,
  OutOfMemoryError,
  RepositoryNotFoundError,
  RevisionNotFoundError,
  TokenizerError,
  UnsupportedModelError,
};
for (const [name, errorClass] of Object.entries(errorClasses)) identify(errorClass, name);

/**
 * Throws {@link AbortError} if the signal has fired.
 * @throws InvalidArgumentError for what is no AbortSignal
 */
export function throwIfAborted(signal: AbortSignal | null | undefined): void {
  if (signal === undefined || signal === null) return;
  // By its shape: signals of polyfills and of other realms are as good.
  const { aborted } = signal;
  if (typeof aborted !== 'boolean' || typeof signal.addEventListener !== 'function') {
    throw invalidArgument('signal', 'an AbortSignal', signal);
  }
  if (aborted) throw new AbortError(signal.reason);
}

/** Text of {@link InvalidArgumentError}, the same everywhere: what was expected, for which argument, what came. */
export function invalidArgument(
  name: string,
  expected: string,
  found: unknown,
): InvalidArgumentError {
  const type = typeOf(found);
  const value = typeof found === 'object' && found !== null ? '' : ` ${show(found)}`;
  return new InvalidArgumentError(
    `Expected ${expected} for ${name} but received${value} of type ${type}`,
    { subject: name },
  );
}
