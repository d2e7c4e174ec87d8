import type { JsonObject } from '../../bounded-json.js';
import { TokenizerError } from '../../errors.js';
import type { Steps } from '../steps.js';
import { byteIdsOf, type Vocabulary, WordCache, type WordModel } from './model.js';
import { PrefixIndex } from './prefix-index.js';

/** How far an unknown character's score lies below the lowest score of a token. */
const UNKNOWN_PENALTY = 10;
/** Tokens or characters between two places where the work may be interrupted. */
const PIECE = 1024;
/** A place in a word costs one step for each unit of the longest token there. */
const MAX_TOKEN_LENGTH = 1024;
const encoder = new TextEncoder();

/** The most probable split of each word, as `encode_optimized` of the `tokenizers` crate finds it. */
export class Unigram implements WordModel {
  readonly #index: PrefixIndex;
  readonly #scores: Float64Array;
  readonly #unknown: number;
  readonly #unknownScore: number;
  readonly #byteIds: Int32Array | null;
  readonly #vocabulary: Vocabulary;
  readonly #cache = new WordCache<readonly number[]>();

  private constructor(
    index: PrefixIndex,
    scores: Float64Array,
    unknown: number,
    byteIds: Int32Array | null,
    vocabulary: Vocabulary,
  ) {
    this.#index = index;
    this.#scores = scores;
    this.#unknown = unknown;
    this.#unknownScore = scores.reduce((low, x) => Math.min(low, x), Infinity) - UNKNOWN_PENALTY;
    this.#byteIds = byteIds;
    this.#vocabulary = vocabulary;
  }

  /** @throws TokenizerError if scores or the unknown token are malformed. */
  static *build(config: JsonObject, vocabulary: Vocabulary, file: string): Steps<Unigram> {
    // Read before by whoever made the vocabulary of it.
    const list = config.vocab as readonly (readonly [string, unknown])[];
    const scores = new Float64Array(list.length);
    for (let id = 0; id < list.length; id++) {
      if (id % PIECE === PIECE - 1) yield;
      const [token, score] = list[id] as readonly [string, unknown];
      if (typeof score !== 'number' || token.length > MAX_TOKEN_LENGTH) {
        throw new TokenizerError('Malformed vocabulary', {
          file,
          subject: `vocab[${id}]`,
          expected: `a token of at most ${MAX_TOKEN_LENGTH} units, and a score`,
          found: typeof score !== 'number' ? score : token.length,
        });
      }
      scores[id] = score;
    }
    const unknown = config.unk_id ?? null;
    if (
      unknown !== null &&
      !(Number.isInteger(unknown) && (unknown as number) >= 0 && (unknown as number) < list.length)
    ) {
      throw new TokenizerError('Malformed unk_id', {
        file,
        expected: `an id below ${list.length}`,
        found: unknown,
      });
    }
    const searched = new Map(vocabulary);
    searched.delete('');
    return new Unigram(
      yield* PrefixIndex.build(searched),
      scores,
      (unknown as number | null) ?? -1,
      config.byte_fallback === true ? byteIdsOf(vocabulary) : null,
      vocabulary,
    );
  }

  *encode(word: string, out: number[]): Steps<void> {
    const known = this.#cache.get(word);
    if (known !== undefined) {
      for (const id of known) out.push(id);
      return;
    }
    const size = word.length;
    const best = new Float64Array(size + 1);
    const from = new Int32Array(size + 1).fill(-1);
    const ids = new Int32Array(size + 1);
    let start = 0;
    let units = 1;
    let single = false;
    const offer = (length: number, id: number, score: number): void => {
      const end = start + length;
      const total = score + (best[start] as number);
      if (from[end] !== -1 && total <= (best[end] as number)) return;
      best[end] = total;
      from[end] = start;
      ids[end] = id;
    };
    const found = (length: number, id: number): void => {
      offer(length, id, this.#scores[id] as number);
      if (length === units) single = true;
    };
    for (let count = 0; start < size; count++, start += units) {
      if (count % PIECE === PIECE - 1) yield;
      units = (word.codePointAt(start) as number) < 0x10000 ? 1 : 2;
      single = false;
      this.#index.match(word, start, found);
      if (!single) offer(units, this.#unknown, this.#unknownScore);
    }
    yield* this.#collect(word, from, ids, out);
  }

  /** Goes back from the end of the word, and appends the ids in their order. */
  *#collect(word: string, from: Int32Array, ids: Int32Array, out: number[]): Steps<void> {
    const first = out.length;
    const reversed: number[] = [];
    for (let end = word.length, count = 0; end > 0; count++) {
      if (count % PIECE === PIECE - 1) yield;
      const id = ids[end] as number;
      const last = end;
      end = from[end] as number;
      if (id !== this.#unknown) {
        reversed.push(id);
        continue;
      }
      // Unknown characters in a row are one token.
      while (end > 0 && ids[end] === this.#unknown) end = from[end] as number;
      this.#pushUnknown(word.slice(end, last), reversed);
    }
    for (let i = reversed.length - 1; i >= 0; i--) out.push(reversed[i] as number);
    if (reversed.length < PIECE) this.#cache.set(word, out.slice(first));
  }

  #pushUnknown(text: string, reversed: number[]): void {
    const id = this.#vocabulary.get(text);
    if (id !== undefined) {
      reversed.push(id);
      return;
    }
    const bytes = this.#byteIds === null ? null : encoder.encode(text);
    if (bytes?.every((byte) => this.#byteIds?.[byte] !== -1)) {
      for (let i = bytes.length - 1; i >= 0; i--) {
        reversed.push(this.#byteIds?.[bytes[i] as number] as number);
      }
      return;
    }
    if (this.#unknown >= 0) {
      reversed.push(this.#unknown);
      return;
    }
    throw new TokenizerError('The text has characters that the vocabulary lacks', {
      found: text.slice(0, 20),
      remedy: 'The unigram model names no unknown token (unk_id).',
    });
  }
}
