import type { JsonObject } from '../../bounded-json.js';
import type { Steps } from '../steps.js';
import type { Vocabulary, WordModel } from './model.js';

/** Default of `max_input_chars_per_word`, and the most that is let through: the cost is quadratic in it. */
const MAX_WORD = 100;
const MAX_WORD_LIMIT = 1000;
/** Words between two places where the work may be interrupted. */
const PIECE = 64;

/** Longest match first, as in BERT. */
export class WordPiece implements WordModel {
  readonly #vocabulary: Vocabulary;
  readonly #unknown: number;
  readonly #prefix: string;
  readonly #maxWord: number;
  #words = 0;

  constructor(config: JsonObject, vocabulary: Vocabulary) {
    const { unk_token, continuing_subword_prefix, max_input_chars_per_word: max } = config;
    this.#vocabulary = vocabulary;
    this.#unknown = vocabulary.get(typeof unk_token === 'string' ? unk_token : '[UNK]') ?? -1;
    this.#prefix = typeof continuing_subword_prefix === 'string' ? continuing_subword_prefix : '##';
    this.#maxWord = typeof max === 'number' ? Math.min(max, MAX_WORD_LIMIT) : MAX_WORD;
  }

  *encode(word: string, out: number[]): Steps<void> {
    if (this.#words++ % PIECE === PIECE - 1) yield;
    const from = out.length;
    const characters = word.length > 2 * this.#maxWord ? [] : Array.from(word);
    let known = characters.length > 0 && characters.length <= this.#maxWord;
    for (let start = 0; known && start < characters.length; ) {
      let end = characters.length;
      let id: number | undefined;
      for (; end > start; end--) {
        const text = characters.slice(start, end).join('');
        id = this.#vocabulary.get(start > 0 ? this.#prefix + text : text);
        if (id !== undefined) break;
      }
      if (id === undefined) known = false;
      else out.push(id);
      start = end;
    }
    if (known) return;
    out.length = from;
    if (this.#unknown >= 0) out.push(this.#unknown);
  }
}
