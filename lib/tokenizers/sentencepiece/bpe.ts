import type { PrefixMatcher } from './prefix-matcher.js';
import { PieceType } from './proto.js';
import type { SentencePieceModel, SentencePieceVocabulary } from './vocabulary.js';

/** A merge that could be made: of the symbols at `left` and `right`, while they are `size` units long. */
interface Candidate {
  left: number;
  right: number;
  score: number;
  size: number;
}

/** Higher score first, then further left: the order in which SentencePiece merges. */
function before(a: Candidate, b: Candidate): boolean {
  return a.score > b.score || (a.score === b.score && a.left < b.left);
}

class Agenda {
  readonly #heap: Candidate[] = [];

  push(item: Candidate): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(item, heap[parent] as Candidate)) break;
      heap[at] = heap[parent] as Candidate;
      at = parent;
    }
    heap[at] = item;
  }

  pop(): Candidate | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const item = heap.pop();
    if (item === undefined || heap.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (
        child + 1 < heap.length &&
        before(heap[child + 1] as Candidate, heap[child] as Candidate)
      ) {
        child++;
      }
      if (!before(heap[child] as Candidate, item)) break;
      heap[at] = heap[child] as Candidate;
      at = child;
    }
    heap[at] = item;
    return top;
  }
}

/** Byte pair encoding as in SentencePiece's `bpe_model.cc`: O(n log n), merging by score of the result. */
export class SentencePieceBpe implements SentencePieceModel {
  readonly #vocabulary: SentencePieceVocabulary;
  readonly #matcher: PrefixMatcher;

  constructor(vocabulary: SentencePieceVocabulary, matcher: PrefixMatcher) {
    this.#vocabulary = vocabulary;
    this.#matcher = matcher;
  }

  split(normalized: string): string[] {
    const symbols: string[] = [];
    const frozen: boolean[] = [];
    for (let at = 0; at < normalized.length; ) {
      const fixed = this.#matcher.match(normalized, at);
      const text =
        fixed > 0
          ? normalized.slice(at, at + fixed)
          : String.fromCodePoint(normalized.codePointAt(at) as number);
      symbols.push(text);
      frozen.push(fixed > 0);
      at += text.length;
    }
    const previous = Int32Array.from(symbols, (_, i) => i - 1);
    const next = Int32Array.from(symbols, (_, i) => (i + 1 < symbols.length ? i + 1 : -1));
    const agenda = new Agenda();
    // Pieces marked unused may be merged into, and are taken apart again afterwards.
    const unused = new Map<string, [string, string]>();

    const consider = (left: number, right: number): void => {
      if (left < 0 || right < 0 || frozen[left] || frozen[right]) return;
      const piece = (symbols[left] as string) + (symbols[right] as string);
      const id = this.#vocabulary.ids.get(piece);
      if (id === undefined) return;
      agenda.push({ left, right, score: this.#vocabulary.score(id), size: piece.length });
      if (this.#vocabulary.type(id) === PieceType.UNUSED) {
        unused.set(piece, [symbols[left] as string, symbols[right] as string]);
      }
    };

    for (let i = 1; i < symbols.length; i++) consider(i - 1, i);
    for (let top = agenda.pop(); top !== undefined; top = agenda.pop()) {
      const left = symbols[top.left] as string;
      const right = symbols[top.right] as string;
      if (left === '' || right === '' || left.length + right.length !== top.size) continue;
      symbols[top.left] = left + right;
      symbols[top.right] = '';
      const after = next[top.right] as number;
      next[top.left] = after;
      if (after >= 0) previous[after] = top.left;
      consider(previous[top.left] as number, top.left);
      consider(top.left, after);
    }

    const pieces: string[] = [];
    for (let at = symbols.length > 0 ? 0 : -1; at >= 0; at = next[at] as number) {
      resegment(symbols[at] as string, unused, pieces);
    }
    return pieces;
  }
}

function resegment(piece: string, unused: Map<string, [string, string]>, out: string[]): void {
  const parts = unused.get(piece);
  if (parts === undefined) {
    out.push(piece);
    return;
  }
  for (const part of parts) resegment(part, unused, out);
}
