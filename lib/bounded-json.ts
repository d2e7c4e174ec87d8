import { basename } from 'node:path';
import {
  decodeUtf8,
  type FileErrorClass,
  readBoundedFile,
  skipByteOrderMark,
} from './bounded-file.js';
import { CheckpointError } from './errors.js';
import { TimeSlice } from './time-slice.js';

/** A JSON object. Its keys may be any text, `__proto__` and `constructor` too: look up with `Object.hasOwn`. */
export type JsonObject = { [key: string]: unknown };

/** True for what JSON calls an object: neither null nor an array, a typed one included. */
export function isObject(value: unknown): value is JsonObject {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !ArrayBuffer.isView(value)
  );
}

/** What a JSON text may cost, and how it is called in messages. */
export interface JsonOptions {
  /** File that the text is from. */
  file: string;
  /** What the text is, such as "The index". Default: the file's name. */
  what?: string;
  maxBytes: number;
  /** Objects, arrays, strings, numbers and literals together; keys are not counted. */
  maxValues: number;
  /** Objects and arrays around each other; `{}` is 1. At most {@link MAX_DEPTH}. */
  maxDepth: number;
  /** Keys of one object: a larger one is slow to grow and to list. Default: as many as values. */
  maxKeys?: number;
  /** Default: CheckpointError. */
  error?: FileErrorClass;
  signal?: AbortSignal;
}

/** No file of a model nests deeper than about ten. */
export const MAX_DEPTH = 128;

/** JSON.parse gets pieces of about this length: a millisecond's work. */
const PIECE_BYTES = 64 * 1024;
/** A string or number is never cut; JSON.parse takes a few milliseconds for one of this length. */
const MAX_SCALAR_BYTES = 4 * 1024 * 1024;
/** Bytes that are looked at between two looks at the clock. */
const SCAN_BYTES = 64 * 1024;

/** What may come next. */
const Expect = {
  Value: 0,
  ValueOrEnd: 1,
  Key: 2,
  KeyOrEnd: 3,
  Colon: 4,
  CommaOrEnd: 5,
  Nothing: 6,
} as const;
type Expect = (typeof Expect)[keyof typeof Expect];

/**
 * An object or array whose end has not been seen. Members are counted in the text and again in what
 * JSON.parse made of it: a difference means that a key occurred twice.
 */
class Frame {
  isObject = false;
  keys = 0;
  /** Where the text that has not been parsed begins: a member, or -1 right after a child that was cut out. */
  start = 0;
  /** Keys seen in the whole text when it was at `start`. */
  keysAtStart = 0;
  /** The same of the member that is being read. */
  member = 0;
  keysAtMember = 0;
  /** The member's key with its quotes, in an object. */
  keyStart = 0;
  keyEnd = 0;
  /** What has been parsed so far; null for a container that may still be parsed as a whole. */
  value: JsonObject | unknown[] | null = null;
}

/**
 * Parses strictly and in bounded pieces. One pass over the bytes checks structure and budgets and cuts
 * the text between members into pieces for JSON.parse, which does the rest: containers longer than a
 * piece are put together here, and all others are JSON.parse's. Nothing is parsed that was not counted.
 */
class Parser {
  private readonly what: string;
  private readonly ErrorClass: FileErrorClass;
  private readonly frames: Frame[] = [];
  private depth = 0;
  private values = 0;
  private keys = 0;
  /** End of what has been parsed. */
  private parsedTo = 0;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly options: JsonOptions,
  ) {
    this.what = options.what ?? basename(options.file);
    this.ErrorClass = options.error ?? CheckpointError;
  }

  /** Yields wherever a caller may want to let others run; returns the object. */
  *run(): Generator<void, JsonObject> {
    const { bytes } = this;
    const { maxBytes, maxKeys = Number.POSITIVE_INFINITY } = this.options;
    if (bytes.length > maxBytes) this.tooMuch(`${maxBytes} bytes`, `${bytes.length} bytes`);

    let at = 0;
    let expect: Expect = Expect.Value;
    let pause = SCAN_BYTES;
    let root: unknown = null;
    while (at < bytes.length) {
      if (at >= pause) {
        yield;
        pause = at + SCAN_BYTES;
      }
      const c = bytes[at] as number;
      switch (c) {
        case 0x20:
        case 0x09:
        case 0x0a:
        case 0x0d:
          at++;
          continue;
        case 0x7b: // {
        case 0x5b: // [
          if (expect !== Expect.Value && expect !== Expect.ValueOrEnd) this.unexpected(at);
          if (this.depth === 0 && c === 0x5b) this.notAnObject();
          this.countValue();
          this.open(c === 0x7b, ++at);
          expect = c === 0x7b ? Expect.KeyOrEnd : Expect.ValueOrEnd;
          continue;
        case 0x7d: // }
        case 0x5d: {
          // ]
          const empty = c === 0x7d ? Expect.KeyOrEnd : Expect.ValueOrEnd;
          const frame = this.frames[this.depth - 1];
          if (
            (expect !== Expect.CommaOrEnd && expect !== empty) ||
            frame?.isObject !== (c === 0x7d)
          ) {
            this.unexpected(at);
          }
          root = this.close(frame as Frame, at++);
          expect = this.depth === 0 ? Expect.Nothing : Expect.CommaOrEnd;
          continue;
        }
        case 0x2c: {
          // ,
          if (expect !== Expect.CommaOrEnd) this.unexpected(at);
          if (at - this.parsedTo >= PIECE_BYTES) {
            this.cut(at);
            yield;
          }
          const frame = this.frames[this.depth - 1] as Frame;
          at++;
          if (frame.start < 0) {
            frame.start = at;
            frame.keysAtStart = this.keys;
          }
          frame.member = at;
          frame.keysAtMember = this.keys;
          expect = frame.isObject ? Expect.Key : Expect.Value;
          continue;
        }
        case 0x3a: // :
          if (expect !== Expect.Colon) this.unexpected(at);
          at++;
          expect = Expect.Value;
          continue;
        case 0x22: {
          // "
          const start = at;
          at = this.endOfString(at);
          if (expect === Expect.Key || expect === Expect.KeyOrEnd) {
            const frame = this.frames[this.depth - 1] as Frame;
            frame.keyStart = start;
            frame.keyEnd = at;
            if (++frame.keys > maxKeys) this.tooMuch(`${maxKeys} keys in one object`, 'more');
            this.keys++;
            expect = Expect.Colon;
            continue;
          }
          break;
        }
        default: // a number, true, false or null: JSON.parse says whether it is one
          at = this.endOfScalar(at);
      }
      if (expect !== Expect.Value && expect !== Expect.ValueOrEnd) this.unexpected(at - 1);
      this.countValue();
      // The text has to be an object, so that a value outside of everything is none.
      if (this.depth === 0) this.notAnObject();
      expect = Expect.CommaOrEnd;
    }
    if (expect !== Expect.Nothing) this.endsEarly();
    return isObject(root) ? root : this.notAnObject();
  }

  private endOfString(start: number): number {
    const { bytes } = this;
    const limit = Math.min(bytes.length, start + MAX_SCALAR_BYTES);
    let at = start + 1;
    while (at < limit && bytes[at] !== 0x22) at += bytes[at] === 0x5c ? 2 : 1;
    if (at >= bytes.length) this.endsEarly();
    if (at >= limit) this.tooMuch(`${MAX_SCALAR_BYTES} bytes in one string`, 'more');
    return at + 1;
  }

  private endOfScalar(start: number): number {
    let at = start;
    for (; ; at++) {
      const c = this.bytes[at];
      const part =
        c !== undefined &&
        ((c >= 0x30 && c <= 0x39) || // 0-9
          (c >= 0x61 && c <= 0x7a) || // a-z
          c === 0x2d || // -
          c === 0x2b || // +
          c === 0x2e || // .
          c === 0x45); // E
      if (!part) break;
    }
    if (at === start) this.unexpected(at);
    if (at - start > MAX_SCALAR_BYTES) {
      this.tooMuch(`${MAX_SCALAR_BYTES} bytes in one number`, 'more');
    }
    return at;
  }

  private countValue(): void {
    if (++this.values > this.options.maxValues) {
      this.tooMuch(`${this.options.maxValues} values`, 'more');
    }
  }

  private open(object: boolean, at: number): void {
    const limit = Math.min(this.options.maxDepth, MAX_DEPTH);
    if (this.depth === limit) this.tooMuch(`${limit} levels of nesting`, 'more');
    // Frames are used again: there are as many as the text is deep.
    this.frames[this.depth] ??= new Frame();
    const frame = this.frames[this.depth++] as Frame;
    frame.isObject = object;
    frame.keys = 0;
    frame.start = frame.member = at;
    frame.keysAtStart = frame.keysAtMember = this.keys;
    frame.value = null;
  }

  /** Ends the innermost container at `at`, its closing bracket; gives it where it was put together here. */
  private close(frame: Frame, at: number): unknown {
    this.depth--;
    if (frame.value === null) {
      if (this.depth > 0) return undefined;
      this.begin(frame);
    }
    if (frame.start >= 0) this.parsePiece(frame, at, this.keys);
    this.parsedTo = at;
    const parent = this.frames[this.depth - 1];
    if (this.depth > 0 && parent !== undefined) parent.start = -1;
    return frame.value;
  }

  /** Parses everything before `at`, a comma of the innermost container. */
  private cut(at: number): void {
    for (let i = 0; i < this.depth; i++) {
      const frame = this.frames[i] as Frame;
      if (frame.value === null) {
        const parent = this.frames[i - 1];
        this.begin(frame);
        if (parent !== undefined) this.attach(parent, frame.value);
      }
      if (i === this.depth - 1) {
        if (frame.start >= 0) this.parsePiece(frame, at, this.keys);
      } else if (frame.start >= 0 && frame.member > frame.start) {
        this.parsePiece(frame, frame.member - 1, frame.keysAtMember);
      }
      frame.start = -1;
    }
    this.parsedTo = at;
  }

  private begin(frame: Frame): void {
    frame.value = frame.isObject ? {} : [];
  }

  /** Puts a container that is put together here into the one around it, under the key before it. */
  private attach(parent: Frame, child: unknown): void {
    if (Array.isArray(parent.value)) {
      parent.value.push(child);
    } else {
      const key = this.parse(this.text(parent.keyStart, parent.keyEnd), parent.keyStart) as string;
      this.define(parent.value as JsonObject, key, child);
    }
  }

  /** Parses the members from `frame.start` to `end`. */
  private parsePiece(frame: Frame, end: number, keysAtEnd: number): void {
    const text = this.text(frame.start, end);
    if (frame.isObject) {
      const part = this.parse(`{${text}}`, frame.start) as JsonObject;
      const names = Object.keys(part);
      this.checkKeys(part, keysAtEnd - frame.keysAtStart, text, true);
      const into = frame.value as JsonObject;
      for (const name of names) this.define(into, name, part[name]);
    } else {
      const part = this.parse(`[${text}]`, frame.start) as unknown[];
      this.checkKeys(part, keysAtEnd - frame.keysAtStart, text, false);
      const into = frame.value as unknown[];
      for (const item of part) into.push(item);
    }
  }

  /** As JSON.parse does it: an assignment to `__proto__` would set the prototype. */
  private define(object: JsonObject, key: string, value: unknown): void {
    if (Object.hasOwn(object, key)) this.twice(key);
    if (key === '__proto__') {
      Object.defineProperty(object, key, {
        value,
        enumerable: true,
        configurable: true,
        writable: true,
      });
    } else {
      object[key] = value;
    }
  }

  /** JSON.parse keeps the last of two equal keys, so that two readers of one file may see two files. */
  private checkKeys(value: unknown, expected: number, text: string, object: boolean): void {
    if (expected > 0 && countKeys(value) !== expected) {
      this.twice(findDuplicateKey(object ? `{${text}}` : `[${text}]`));
    }
  }

  private text(start: number, end: number): string {
    return decodeUtf8(this.bytes.subarray(start, end), this.options.file, this.ErrorClass);
  }

  private parse(text: string, at: number): unknown {
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw this.invalid(
        cause instanceof Error ? cause.message : undefined,
        at > 1 ? at : undefined,
        cause,
      );
    }
  }

  private invalid(found: string | undefined, at: number | undefined, cause?: unknown): Error {
    return new this.ErrorClass(
      `${this.what} is not valid JSON${at === undefined ? '' : ` (after byte ${at})`}`,
      {
        file: this.options.file,
        found,
        remedy: 'The file is damaged; download it again.',
        cause,
      },
    );
  }

  private unexpected(at: number): never {
    const c = this.bytes[at] as number;
    const found =
      c > 0x20 && c < 0x7f ? `unexpected ${String.fromCharCode(c)}` : `unexpected byte ${c}`;
    throw this.invalid(`${found} at byte ${at}`, undefined);
  }

  private endsEarly(): never {
    throw this.invalid(
      this.bytes.length === 0 ? 'an empty text' : 'the end in the middle of a value',
      undefined,
    );
  }

  private notAnObject(): never {
    throw new this.ErrorClass(`${this.what} is not a JSON object`, { file: this.options.file });
  }

  private twice(key: string): never {
    throw new this.ErrorClass(
      `${this.what} has the key ${JSON.stringify(key.slice(0, 200))} twice`,
      { file: this.options.file, subject: key.slice(0, 200) },
    );
  }

  private tooMuch(expected: string, found: string): never {
    throw new this.ErrorClass(`${this.what} is larger than what it should hold`, {
      file: this.options.file,
      expected: `at most ${expected}`,
      found,
      remedy: 'The file is damaged or hostile; download it again from a source you trust.',
    });
  }
}

/** Keys of all objects in `value`, which is not deeper than {@link MAX_DEPTH}. */
function countKeys(value: unknown): number {
  let count = 0;
  if (Array.isArray(value)) {
    for (const item of value) {
      if (typeof item === 'object' && item !== null) count += countKeys(item);
    }
  } else if (isObject(value)) {
    for (const key of Object.keys(value)) {
      count++;
      const item = value[key];
      if (typeof item === 'object' && item !== null) count += countKeys(item);
    }
  }
  return count;
}

/** A key that occurs twice in one object of `text`, which is valid JSON and has one. */
function findDuplicateKey(text: string): string {
  // One entry an open bracket: the keys of an object, or null for an array.
  const open: (Set<string> | null)[] = [];
  let start = 0;
  let end = 0;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x7b: // {
        open.push(new Set());
        break;
      case 0x5b: // [
        open.push(null);
        break;
      case 0x7d: // }
      case 0x5d: // ]
        open.pop();
        break;
      case 0x22: // "
        start = i++;
        for (let c = text.charCodeAt(i); c !== 0x22; c = text.charCodeAt(i))
          i += c === 0x5c ? 2 : 1;
        end = i + 1;
        break;
      case 0x3a: {
        // : after a key
        const key = JSON.parse(text.slice(start, end)) as string;
        if (open.at(-1)?.has(key)) return key;
        open.at(-1)?.add(key);
        break;
      }
    }
  }
  return '';
}

/**
 * Parses the text of a JSON object: strict JSON, no key twice in one object at any depth, a byte order
 * mark skipped. Text above a budget is refused before it costs more than reading it, and the event loop
 * is never held for more than a few milliseconds, however long the text is.
 * @throws the class of the options; AbortError
 */
export async function parseBoundedJson(
  text: string | Uint8Array,
  options: JsonOptions,
): Promise<JsonObject> {
  const slice = new TimeSlice(options.signal);
  const steps = new Parser(bytesOf(text), options).run();
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    if (slice.due()) await slice.next();
  }
}

/**
 * As {@link parseBoundedJson} without letting others run, for texts of a megabyte at most.
 * @throws the class of the options
 */
export function parseBoundedJsonSync(text: string | Uint8Array, options: JsonOptions): JsonObject {
  const steps = new Parser(bytesOf(text), options).run();
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/**
 * Reads a JSON object from a file of a model's folder: {@link readBoundedFile} and {@link parseBoundedJson}.
 * @throws FileNotFoundError, AbortError, and the class of the options
 */
export async function readBoundedJson(
  path: string,
  options: Omit<JsonOptions, 'file'>,
): Promise<JsonObject> {
  return parseBoundedJson(await readBoundedFile(path, options), { ...options, file: path });
}

function bytesOf(text: string | Uint8Array): Uint8Array {
  return skipByteOrderMark(typeof text === 'string' ? Buffer.from(text) : text);
}
