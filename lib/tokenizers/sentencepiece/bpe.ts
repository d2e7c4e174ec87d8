import { type MergeRules, Merger } from '../models/merger.js';
import { WordCache } from '../models/model.js';
import { PairTable } from '../models/pair-table.js';
import type { PrefixIndex } from '../models/prefix-index.js';
import { runAtOnce, type Steps } from '../steps.js';
import { PieceType } from './proto.js';
import type { SentencePieceModel, SentencePieceVocabulary } from './vocabulary.js';

/** Characters or pieces between two places where the work may be interrupted. */
const PIECE = 1024;
/** Symbol of a character that no piece has. */
const INERT = -2;

/** Pieces, and characters of pieces that are none themselves, as symbols; and what two of them make. */
class PieceMerges implements MergeRules {
  readonly #vocabulary: SentencePieceVocabulary;
  /** Pieces that text may be split into; below them in number the rest, by character. */
  readonly #characters: Map<number, number>;
  readonly #texts: string[];
  /** Order of each piece's score; equal scores have equal ranks. */
  readonly #ranks: Int32Array;
  /** What pairs make that have been seen: an id, or NOTHING. */
  #seen = new PairTable();
  /** Pieces marked unused may be merged into, and are taken apart again: what they were made of last. */
  readonly unused: Map<number, readonly [number, number]> | null;

  static readonly #NOTHING = 0x7fffffff;
  static readonly #MAX_SEEN = 2 ** 20;

  constructor(
    vocabulary: SentencePieceVocabulary,
    characters: Map<number, number>,
    texts: string[],
    ranks: Int32Array,
  ) {
    this.#vocabulary = vocabulary;
    this.#characters = characters;
    this.#texts = texts;
    this.#ranks = ranks;
    this.unused = vocabulary.proto.pieces.some(({ type }) => type === PieceType.UNUSED)
      ? new Map()
      : null;
  }

  symbolOf(code: number): number {
    return this.#characters.get(code) ?? INERT;
  }

  textOf(symbol: number): string {
    return this.#texts[symbol] as string;
  }

  rule(left: number, right: number): number {
    let id = this.#seen.get(left, right);
    if (id < 0) {
      const piece = this.textOf(left) + this.textOf(right);
      id = this.#vocabulary.ids.get(piece) ?? PieceMerges.#NOTHING;
      if (this.#seen.size >= PieceMerges.#MAX_SEEN) this.#seen = new PairTable();
      this.#seen.set(left, right, id);
    }
    if (id === PieceMerges.#NOTHING) return -1;
    if (this.unused !== null && this.#vocabulary.type(id) === PieceType.UNUSED) {
      this.unused.set(id, [left, right]);
    }
    return id;
  }

  rank(rule: number): number {
    return this.#ranks[rule] as number;
  }

  result(rule: number): number {
    return rule;
  }
}

/**
 * Byte pair encoding as in SentencePiece's `bpe_model.cc`: merges by the score of the result. The text
 * is cut first wherever two characters meet that no piece has side by side, as no merge goes across.
 */
export class SentencePieceBpe implements SentencePieceModel {
  readonly #vocabulary: SentencePieceVocabulary;
  readonly #matcher: PrefixIndex;
  readonly #merges: PieceMerges;
  readonly #merger: Merger;
  /** Pairs of characters that some piece has side by side. */
  readonly #joints: PairTable;
  readonly #cache = new WordCache<readonly number[]>();
  readonly #symbols = new Int32Array(1024);
  readonly #starts = new Int32Array(1024);

  private constructor(
    vocabulary: SentencePieceVocabulary,
    matcher: PrefixIndex,
    merges: PieceMerges,
    joints: PairTable,
  ) {
    this.#vocabulary = vocabulary;
    this.#matcher = matcher;
    this.#merges = merges;
    this.#merger = new Merger(merges);
    this.#joints = joints;
  }

  static *build(
    vocabulary: SentencePieceVocabulary,
    matcher: PrefixIndex,
  ): Steps<SentencePieceBpe> {
    const { pieces } = vocabulary.proto;
    const texts = pieces.map(({ piece }) => piece);
    const characters = new Map<number, number>();
    const joints = new PairTable(pieces.length);
    let count = 0;
    for (const [piece, id] of vocabulary.ids) {
      if (count++ % PIECE === PIECE - 1) yield;
      let previous = -1;
      let length = 0;
      for (const char of piece) {
        const code = char.codePointAt(0) as number;
        if (previous >= 0) joints.set(previous, code, 1);
        previous = code;
        length++;
      }
      if (length === 1) characters.set(previous, id);
    }
    for (const piece of vocabulary.ids.keys()) {
      if (count++ % PIECE === PIECE - 1) yield;
      for (const char of piece) {
        const code = char.codePointAt(0) as number;
        if (!characters.has(code)) characters.set(code, texts.push(char) - 1);
      }
    }
    const merges = new PieceMerges(vocabulary, characters, texts, yield* ranksOf(vocabulary));
    return new SentencePieceBpe(vocabulary, matcher, merges, joints);
  }

  *encode(normalized: string, out: number[]): Steps<void> {
    // How pieces marked unused are taken apart depends on everything that was merged before.
    const whole = this.#merges.unused !== null;
    for (let start = 0, pause = PIECE; start < normalized.length; ) {
      if (start >= pause) {
        pause = start + PIECE;
        yield;
      }
      const end = whole ? normalized.length : this.#endOfPart(normalized, start);
      const part = normalized.slice(start, end);
      const known = this.#cache.get(part);
      if (known !== undefined) for (const id of known) out.push(id);
      else if (whole) runAtOnce(this.#encodePart(part, out));
      else yield* this.#encodePart(part, out);
      start = end;
    }
  }

  /** Where a part that begins at `start` ends: at a user-defined symbol, or where no piece goes across. */
  #endOfPart(text: string, start: number): number {
    const fixed = this.#matcher.match(text, start);
    if (fixed > 0) return start + fixed;
    let code = text.codePointAt(start) as number;
    for (let at = start + (code < 0x10000 ? 1 : 2); at < text.length; ) {
      const next = text.codePointAt(at) as number;
      if (this.#joints.get(code, next) < 0 || this.#matcher.match(text, at) > 0) return at;
      at += next < 0x10000 ? 1 : 2;
      code = next;
    }
    return text.length;
  }

  *#encodePart(part: string, out: number[]): Steps<void> {
    const short = Merger.isShort(part.length);
    const symbols = short ? this.#symbols : new Int32Array(part.length);
    const starts = short ? this.#starts : new Int32Array(part.length);
    let length = 0;
    for (let at = 0; at < part.length; length++) {
      if (length % PIECE === PIECE - 1 && !short) yield;
      const fixed = this.#matcher.match(part, at);
      const code = part.codePointAt(at) as number;
      symbols[length] = fixed > 0 ? INERT : this.#merges.symbolOf(code);
      starts[length] = at;
      at += fixed > 0 ? fixed : code < 0x10000 ? 1 : 2;
    }
    if (short) this.#merger.merge(symbols, length);
    else yield* this.#merger.mergeLong(symbols, length);
    const first = out.length;
    for (let i = 0; i < length; i++) {
      if (i % PIECE === PIECE - 1 && !short) yield;
      const symbol = symbols[i] as number;
      if (symbol === INERT)
        this.#vocabulary.push(
          part.slice(starts[i], i + 1 < length ? starts[i + 1] : undefined),
          out,
        );
      else if (symbol !== -1) this.#takeApart(symbol, out);
    }
    if (this.#merges.unused === null) this.#cache.set(part, out.slice(first));
  }

  #takeApart(symbol: number, out: number[]): void {
    const parts = this.#merges.unused?.get(symbol);
    if (parts === undefined) this.#vocabulary.push(this.#merges.textOf(symbol), out);
    else for (const part of parts) this.#takeApart(part, out);
  }
}

/** Order of the pieces' scores, highest first. */
function* ranksOf({ proto }: SentencePieceVocabulary): Steps<Int32Array> {
  const scores = Float64Array.from(proto.pieces, ({ score }) => score);
  yield;
  const order = Float64Array.from(scores).sort();
  yield;
  const rankOf = new Map<number, number>();
  for (let i = order.length - 1; i >= 0; i--) {
    if (i % PIECE === 0) yield;
    const score = order[i] as number;
    if (!rankOf.has(score)) rankOf.set(score, rankOf.size);
  }
  return Int32Array.from(scores, (score) => rankOf.get(score) as number);
}
