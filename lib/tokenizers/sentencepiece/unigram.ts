import { PrefixIndex } from '../models/prefix-index.js';
import type { Steps } from '../steps.js';
import { PieceType } from './proto.js';
import type { SentencePieceModel, SentencePieceVocabulary } from './vocabulary.js';

/** How far an unknown character's score lies below the lowest score of a piece. */
const UNKNOWN_PENALTY = 10;
/** Characters or pieces between two places where the work may be interrupted. */
const PIECE = 1024;

/** Bytes of UTF-8 that a stretch of text takes. */
function utf8Length(text: string, start: number, end: number): number {
  let bytes = 0;
  for (let at = start; at < end; at++) {
    const unit = text.charCodeAt(at);
    // A surrogate is half of a character of four bytes.
    bytes += unit < 0x80 ? 1 : unit < 0x800 ? 2 : (unit & 0xf800) === 0xd800 ? 2 : 3;
  }
  return bytes;
}

/**
 * The most probable split under a unigram model, as in SentencePiece's `unigram_model.cc`
 * (`EncodeOptimized`): Viterbi over characters, in float32 because ties and near ties are decided there.
 */
export class SentencePieceUnigram implements SentencePieceModel {
  readonly #vocabulary: SentencePieceVocabulary;
  readonly #index: PrefixIndex;
  readonly #unknownScore: number;
  readonly #maxScore: number;

  private constructor(vocabulary: SentencePieceVocabulary, index: PrefixIndex) {
    this.#vocabulary = vocabulary;
    this.#index = index;
    let min = Number.POSITIVE_INFINITY;
    let max = Number.NEGATIVE_INFINITY;
    for (const { type, score } of vocabulary.proto.pieces) {
      if (type !== PieceType.NORMAL) continue;
      min = Math.min(min, score);
      max = Math.max(max, score);
    }
    this.#unknownScore = Math.fround(min - UNKNOWN_PENALTY);
    this.#maxScore = max;
  }

  static *build(vocabulary: SentencePieceVocabulary): Steps<SentencePieceUnigram> {
    return new SentencePieceUnigram(vocabulary, yield* PrefixIndex.build(vocabulary.ids));
  }

  *encode(normalized: string, out: number[]): Steps<void> {
    const size = normalized.length;
    const best = new Float32Array(size + 1);
    const from = new Int32Array(size + 1).fill(-1);
    let start = 0;
    let units = 1;
    let single = false;
    const offer = (end: number, score: number): void => {
      const total = Math.fround(score + (best[start] as number));
      if (from[end] === -1 || total > (best[end] as number)) {
        best[end] = total;
        from[end] = start;
      }
    };
    const found = (length: number, id: number): void => {
      const type = this.#vocabulary.type(id);
      if (type === PieceType.UNUSED) return;
      // A user-defined symbol gets a score that lets it win.
      const score =
        type === PieceType.USER_DEFINED
          ? Math.fround(utf8Length(normalized, start, start + length) * this.#maxScore - 0.1)
          : this.#vocabulary.score(id);
      offer(start + length, score);
      if (length === units) single = true;
    };
    for (let count = 0; start < size; count++, start += units) {
      if (count % PIECE === PIECE - 1) yield;
      units = (normalized.codePointAt(start) as number) < 0x10000 ? 1 : 2;
      single = false;
      this.#index.match(normalized, start, found);
      if (!single) offer(start + units, this.#unknownScore);
    }
    const ends: number[] = [];
    for (let end = size; end > 0; end = from[end] as number) {
      if (ends.length % PIECE === PIECE - 1) yield;
      ends.push(end);
    }
    for (let i = ends.length - 1; i >= 0; i--) {
      if (i % PIECE === PIECE - 1) yield;
      const end = ends[i] as number;
      this.#vocabulary.push(normalized.slice(from[end], end), out);
    }
  }
}
