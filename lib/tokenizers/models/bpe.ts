import type { JsonObject } from '../../bounded-json.js';
import { TokenizerError } from '../../errors.js';
import type { Steps } from '../steps.js';
import { type MergeRules, Merger } from './merger.js';
import { byteIdsOf, type Vocabulary, WordCache, type WordModel } from './model.js';
import { PairTable } from './pair-table.js';

/** Merges; a rank has 21 bits (see {@link Merger}). The most published are 515 K, of Gemma 3. */
const MAX_MERGES = 2 ** 21;
/** Merges or characters between two places where the work may be interrupted. */
const PIECE = 1024;
const encoder = new TextEncoder();

/** A character outside the vocabulary, seen while a word is cut into symbols. */
interface Unknown {
  pending: boolean;
}

/** Merges of a tokenizer.json. */
class Merges implements MergeRules {
  readonly pairs: PairTable;
  readonly #results: Int32Array;

  constructor(count: number) {
    this.pairs = new PairTable(count);
    this.#results = new Int32Array(count);
  }

  add(rank: number, left: number, right: number, result: number): void {
    this.pairs.set(left, right, rank);
    this.#results[rank] = result;
  }

  rule(left: number, right: number): number {
    return this.pairs.get(left, right);
  }

  rank(rule: number): number {
    return rule;
  }

  result(rule: number): number {
    return this.#results[rule] as number;
  }
}

/**
 * Byte pair encoding as in the `tokenizers` crate.
 *
 * Words are cut further wherever two characters meet that no merge joins, which changes no id: merges
 * on either side of such a place cannot see each other. Llama 2's layout, in which the whole text is one
 * word, so becomes many short words, and these are remembered.
 */
export class Bpe implements WordModel {
  readonly #vocabulary: Vocabulary;
  readonly #merges: Merges;
  readonly #merger: Merger;
  readonly #cache = new WordCache<readonly number[]>();
  /** Pairs of characters that a merge joins; null where words may not be cut. */
  readonly #joints: PairTable | null;
  readonly #unknown: number;
  readonly #fuseUnknown: boolean;
  /** Whether unknown characters in a row may become one token. */
  readonly #mayFuse: boolean;
  readonly #byteIds: Int32Array | null;
  readonly #ignoreMerges: boolean;
  readonly #prefix: string;
  readonly #suffix: string;
  /** Ids of single characters of the basic plane; -1 where there is none. */
  readonly #characters = new Int32Array(65_536).fill(-1);
  #symbols = new Int32Array(1024);

  private constructor(
    config: JsonObject,
    vocabulary: Vocabulary,
    merges: Merges,
    joints: PairTable | null,
  ) {
    this.#vocabulary = vocabulary;
    this.#merges = merges;
    this.#merger = new Merger(merges);
    this.#joints = joints;
    this.#unknown = unknownId(config, vocabulary);
    this.#fuseUnknown = config.fuse_unk === true;
    this.#byteIds = config.byte_fallback === true ? byteIdsOf(vocabulary) : null;
    this.#mayFuse = this.#fuseUnknown && !this.#byteIds?.every((id) => id >= 0);
    this.#ignoreMerges = config.ignore_merges === true;
    this.#prefix = affix(config, 'continuing_subword_prefix');
    this.#suffix = affix(config, 'end_of_word_suffix');
  }

  /** @throws TokenizerError if the merges are malformed or make tokens that the vocabulary lacks. */
  static *build(config: JsonObject, vocabulary: Vocabulary, file: string): Steps<Bpe> {
    const list = config.merges;
    if (!Array.isArray(list) || list.length > MAX_MERGES) {
      throw new TokenizerError('Malformed merges', {
        file,
        expected: `a list of at most ${MAX_MERGES} merges`,
        found: Array.isArray(list) ? list.length : typeof list,
      });
    }
    const prefix = affix(config, 'continuing_subword_prefix');
    const merges = new Merges(list.length);
    const unknown = unknownId(config, vocabulary);
    const bytes = config.byte_fallback === true ? new Set(byteIdsOf(vocabulary)) : new Set();
    let joints: PairTable | null =
      prefix === '' && affix(config, 'end_of_word_suffix') === '' ? new PairTable(1024) : null;
    for (let rank = 0; rank < list.length; rank++) {
      if (rank % PIECE === PIECE - 1) yield;
      const [left, right] = readMerge(list[rank], rank, file);
      const a = vocabulary.get(left);
      const b = vocabulary.get(right);
      const whole =
        left + (prefix !== '' && right.startsWith(prefix) ? right.slice(prefix.length) : right);
      const result = vocabulary.get(whole);
      if (a === undefined || b === undefined || result === undefined) {
        throw new TokenizerError('A merge uses a token that the vocabulary does not have', {
          file,
          subject: `merges[${rank}]`,
          found: a === undefined ? left : b === undefined ? right : whole,
        });
      }
      merges.add(rank, a, b, result);
      // What stands for unknown text may meet anything.
      if ([a, b].some((id) => id === unknown || bytes.has(id))) joints = null;
      joints?.set(lastCharacter(left), right.codePointAt(0) as number, 1);
    }
    const model = new Bpe(config, vocabulary, merges, joints);
    let count = 0;
    for (const [token, id] of vocabulary) {
      if (count++ % PIECE === PIECE - 1) yield;
      if (token.length === 1) model.#characters[token.charCodeAt(0)] = id;
    }
    return model;
  }

  *encode(word: string, out: number[]): Steps<void> {
    if (this.#ignoreMerges) {
      const id = this.#vocabulary.get(word);
      if (id !== undefined) {
        out.push(id);
        return;
      }
    }
    const known = this.#cache.get(word);
    if (known !== undefined) {
      for (const id of known) out.push(id);
      return;
    }
    let pause = PIECE;
    for (let start = 0; start < word.length; ) {
      const end = this.#endOfPart(word, start);
      if (end >= pause) {
        pause = end + PIECE;
        yield;
      }
      if (Merger.isShort(end - start)) this.#encodePart(word, start, end, out);
      else yield* this.#encodeLong(word.slice(start, end), out);
      start = end;
    }
  }

  /** Where the word can be cut first behind `start`. */
  #endOfPart(word: string, start: number): number {
    const joints = this.#joints;
    if (joints === null) return word.length;
    let code = word.codePointAt(start) as number;
    for (let at = start + (code < 0x10000 ? 1 : 2); at < word.length; ) {
      const next = word.codePointAt(at) as number;
      const fused = this.#mayFuse && this.#isUnknown(code) && this.#isUnknown(next);
      if (!fused && joints.get(code, next) < 0) return at;
      at += next < 0x10000 ? 1 : 2;
      code = next;
    }
    return word.length;
  }

  #isUnknown(code: number): boolean {
    return code < 0x10000
      ? this.#characters[code] === -1
      : !this.#vocabulary.has(String.fromCodePoint(code));
  }

  #encodePart(word: string, start: number, end: number, out: number[]): void {
    const part = start === 0 && end === word.length ? word : word.slice(start, end);
    const known = this.#cache.get(part);
    if (known !== undefined) {
      for (const id of known) out.push(id);
      return;
    }
    // Four bytes stand for a character at most.
    if (this.#symbols.length < 4 * part.length) this.#symbols = new Int32Array(8 * part.length);
    const symbols = this.#symbols;
    const unknown: Unknown = { pending: false };
    let length = this.#cut(part, 0, part.length, symbols, 0, unknown);
    if (unknown.pending) symbols[length++] = this.#unknown;
    if (Merger.isShort(length)) {
      this.#merger.merge(symbols, length);
    } else {
      // Bytes of unknown characters: many, but there is no merge among them, or it would not be a part.
      for (const _ of this.#merger.mergeLong(symbols, length));
    }
    const from = out.length;
    for (let i = 0; i < length; i++) {
      const symbol = symbols[i] as number;
      if (symbol >= 0) out.push(symbol);
    }
    this.#cache.set(part, out.slice(from));
  }

  *#encodeLong(part: string, out: number[]): Steps<void> {
    const symbols = new Int32Array(4 * part.length + 1);
    const unknown: Unknown = { pending: false };
    let length = 0;
    for (let at = 0; at < part.length; ) {
      let end = Math.min(part.length, at + PIECE);
      // A character of two units stays whole.
      if (end < part.length && isLowSurrogate(part.charCodeAt(end))) end++;
      length = this.#cut(part, at, end, symbols, length, unknown);
      at = end;
      yield;
    }
    if (unknown.pending) symbols[length++] = this.#unknown;
    yield* this.#merger.mergeLong(symbols, length);
    for (let i = 0; i < length; i++) {
      if (i % (16 * PIECE) === 0) yield;
      const symbol = symbols[i] as number;
      if (symbol >= 0) out.push(symbol);
    }
  }

  /** Symbols of the characters of `part` in [start, end), behind the `length` ones that are there. */
  #cut(
    part: string,
    start: number,
    end: number,
    symbols: Int32Array,
    length: number,
    unknown: Unknown,
  ): number {
    const plain = this.#prefix === '' && this.#suffix === '';
    for (let at = start; at < end; ) {
      const code = part.codePointAt(at) as number;
      const units = code < 0x10000 ? 1 : 2;
      let id = -1;
      let text = '';
      if (plain && units === 1) {
        id = this.#characters[code] as number;
      } else {
        text = String.fromCodePoint(code);
        if (at > 0) text = this.#prefix + text;
        if (at + units === part.length) text += this.#suffix;
        id = this.#vocabulary.get(text) ?? -1;
      }
      at += units;
      if (id >= 0) {
        if (unknown.pending) symbols[length++] = this.#unknown;
        unknown.pending = false;
        symbols[length++] = id;
        continue;
      }
      if (this.#byteIds !== null) {
        const bytes = encoder.encode(text === '' ? String.fromCodePoint(code) : text);
        if (bytes.every((byte) => this.#byteIds?.[byte] !== -1)) {
          for (const byte of bytes) symbols[length++] = this.#byteIds[byte] as number;
          continue;
        }
      }
      if (this.#unknown < 0) continue;
      if (unknown.pending && !this.#fuseUnknown) symbols[length++] = this.#unknown;
      unknown.pending = true;
    }
    return length;
  }
}

/** Text that stands before or behind characters inside a word, by the name of its setting. */
function affix(config: JsonObject, name: string): string {
  const value = config[name];
  return typeof value === 'string' ? value : '';
}

function unknownId(config: JsonObject, vocabulary: Vocabulary): number {
  return typeof config.unk_token === 'string' ? (vocabulary.get(config.unk_token) ?? -1) : -1;
}

/** A merge is a pair, or in older files two tokens with a space between them. */
function readMerge(merge: unknown, rank: number, file: string): [string, string] {
  const pair = typeof merge === 'string' ? merge.split(' ') : merge;
  if (
    Array.isArray(pair) &&
    pair.length === 2 &&
    pair.every((token) => typeof token === 'string' && token !== '')
  ) {
    return pair as [string, string];
  }
  throw new TokenizerError('Malformed merge', {
    file,
    subject: `merges[${rank}]`,
    expected: 'two tokens',
    found: merge,
  });
}

function lastCharacter(text: string): number {
  const last = text.length - 1;
  return text.codePointAt(
    isLowSurrogate(text.charCodeAt(last)) && last > 0 ? last - 1 : last,
  ) as number;
}

function isLowSurrogate(unit: number): boolean {
  return (unit & 0xfc00) === 0xdc00;
}
