import { PieceType } from './proto.js';
import type { SentencePieceModel, SentencePieceVocabulary } from './vocabulary.js';

interface Node {
  id: number;
  next: Map<string, Node>;
}

/** How far an unknown character's score lies below the lowest score of a piece. */
const UNKNOWN_PENALTY = 10;

function utf8Length(char: string): number {
  const code = char.codePointAt(0) as number;
  return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

/**
 * The most probable split under a unigram model, as in SentencePiece's `unigram_model.cc`
 * (`EncodeOptimized`): Viterbi over characters, in float32 because ties and near ties are decided there.
 */
export class SentencePieceUnigram implements SentencePieceModel {
  readonly #vocabulary: SentencePieceVocabulary;
  readonly #root: Node = { id: -1, next: new Map() };
  readonly #unknownScore: number;
  readonly #maxScore: number;

  constructor(vocabulary: SentencePieceVocabulary) {
    this.#vocabulary = vocabulary;
    let min = Number.POSITIVE_INFINITY;
    let max = Number.NEGATIVE_INFINITY;
    for (const { type, score } of vocabulary.proto.pieces) {
      if (type !== PieceType.NORMAL) continue;
      min = Math.min(min, score);
      max = Math.max(max, score);
    }
    this.#unknownScore = Math.fround(min - UNKNOWN_PENALTY);
    this.#maxScore = max;
    for (const [piece, id] of vocabulary.ids) {
      let node = this.#root;
      for (const char of piece) {
        let child = node.next.get(char);
        if (child === undefined) {
          child = { id: -1, next: new Map() };
          node.next.set(char, child);
        }
        node = child;
      }
      node.id = id;
    }
  }

  split(normalized: string): string[] {
    const chars = Array.from(normalized);
    const best = new Float32Array(chars.length + 1);
    const from = new Int32Array(chars.length + 1).fill(-1);
    const offer = (start: number, end: number, score: number): void => {
      const total = Math.fround(score + (best[start] as number));
      if (from[end] === -1 || total > (best[end] as number)) {
        best[end] = total;
        from[end] = start;
      }
    };
    for (let start = 0; start < chars.length; start++) {
      let node: Node | undefined = this.#root;
      let single = false;
      let bytes = 0;
      for (let at = start; at < chars.length; at++) {
        const char = chars[at] as string;
        node = node.next.get(char);
        if (node === undefined) break;
        bytes += utf8Length(char);
        if (node.id < 0) continue;
        const type = this.#vocabulary.type(node.id);
        if (type === PieceType.UNUSED) continue;
        // A user-defined symbol gets a score that lets it win.
        const score =
          type === PieceType.USER_DEFINED
            ? Math.fround(bytes * this.#maxScore - 0.1)
            : this.#vocabulary.score(node.id);
        offer(start, at + 1, score);
        if (at === start) single = true;
      }
      if (!single) offer(start, start + 1, this.#unknownScore);
    }
    const pieces: string[] = [];
    for (let end = chars.length; end > 0; end = from[end] as number) {
      pieces.push(chars.slice(from[end], end).join(''));
    }
    return pieces.reverse();
  }
}
