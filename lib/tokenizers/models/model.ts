import type { Steps } from '../steps.js';

/** The model of a tokenizer.json: words, as the pre-tokenizer cut them, to ids. */
export interface WordModel {
  /** Appends the ids of one word. */
  encode(word: string, out: number[]): Steps<void>;
}

/** Ids of the vocabulary by token. */
export type Vocabulary = ReadonlyMap<string, number>;

/** Names of the tokens that stand for single bytes. */
export function byteToken(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
}

/** Ids of the tokens for single bytes; -1 for those that are not there. */
export function byteIdsOf(vocabulary: Vocabulary): Int32Array {
  return Int32Array.from({ length: 256 }, (_, byte) => vocabulary.get(byteToken(byte)) ?? -1);
}

/** Ids of recent words. Forgets all of them when full: as fast as keeping the latest, and simpler. */
export class WordCache<T> {
  static readonly #MAX_WORDS = 16_384;
  static readonly #MAX_LENGTH = 128;
  readonly #words = new Map<string, T>();

  get(word: string): T | undefined {
    return this.#words.get(word);
  }

  set(word: string, ids: T): void {
    if (word.length > WordCache.#MAX_LENGTH) return;
    if (this.#words.size >= WordCache.#MAX_WORDS) this.#words.clear();
    this.#words.set(word, ids);
  }
}
