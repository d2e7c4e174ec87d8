import { isObject, type JsonObject } from '../bounded-json.js';
import { TokenizerError } from '../errors.js';
import { AddedTokenSplitter } from './added-tokens.js';
import type { DecoderConfig } from './decoder.js';
import { checkAddedTokens, checkId, type Encoder, tokenTable } from './encoder.js';
import { Bpe } from './models/bpe.js';
import type { WordModel } from './models/model.js';
import { Unigram } from './models/unigram.js';
import { WordPiece } from './models/wordpiece.js';
import { type Normalizer, readNormalizer } from './normalizers.js';
import { type PreTokenizer, readPreTokenizer } from './pre-tokenizers.js';
import type { AddedToken } from './special-tokens.js';
import type { Steps } from './steps.js';

const KNOWN_MODELS = ['BPE', 'Unigram', 'WordPiece'];
/** Words or tokens between two places where the work may be interrupted. */
const PIECE = 1024;

/** The vocabulary of a tokenizer.json's model: ids by token. */
export interface JsonVocabulary {
  type: string;
  model: JsonObject;
  ids: ReadonlyMap<string, number>;
}

/**
 * Reads the vocabulary alone, as new special tokens need to know which ids are free.
 *
 * @throws TokenizerError if it is malformed, or of a kind that is not known.
 */
export function* readVocabulary(json: JsonObject, file: string): Steps<JsonVocabulary> {
  const { model } = json;
  const type = isObject(model) && typeof model.type === 'string' ? model.type : '';
  const vocab = isObject(model) ? model.vocab : null;
  const shape = type === 'Unigram' ? Array.isArray(vocab) : isObject(vocab);
  if (!isObject(model) || !KNOWN_MODELS.includes(type) || !shape) {
    throw new TokenizerError('Unsupported tokenizer model', {
      file,
      subject: 'model.type',
      expected: KNOWN_MODELS.join(', '),
      found: type === '' ? 'none' : shape ? type : `${type} without a vocab`,
      remedy: 'The file is damaged, or belongs to another kind of model.',
    });
  }
  const ids = new Map<string, number>();
  if (Array.isArray(vocab)) {
    for (let id = 0; id < vocab.length; id++) {
      if (id % PIECE === 0) yield;
      const entry: unknown = vocab[id];
      const token: unknown = Array.isArray(entry) ? entry[0] : null;
      if (typeof token !== 'string') {
        throw new TokenizerError('Malformed vocabulary', {
          file,
          subject: `vocab[${id}]`,
          expected: '[token, score]',
          found: entry,
        });
      }
      ids.set(token, id);
    }
  } else {
    const tokens = Object.keys(vocab as JsonObject);
    for (let i = 0; i < tokens.length; i++) {
      if (i % PIECE === 0) yield;
      const token = tokens[i] as string;
      const id = (vocab as JsonObject)[token];
      if (typeof id !== 'number') {
        throw new TokenizerError('Malformed vocabulary', {
          file,
          subject: token.slice(0, 100),
          expected: 'an id',
          found: id,
        });
      }
      checkId(id, token, tokens.length, file);
      ids.set(token, id);
    }
  }
  return { type, model, ids };
}

/** Runs a tokenizer.json as the tokenizers crate does: added tokens, normalizer, pre-tokenizer, model. */
export class TokenizerJsonEncoder implements Encoder {
  readonly tokens: readonly (string | undefined)[];
  readonly modelSize: number;
  readonly modelType: string;
  readonly decoderConfig: DecoderConfig;
  readonly #ids: ReadonlyMap<string, number>;
  readonly #normalizer: Normalizer | null;
  readonly #preTokenizer: PreTokenizer | null;
  readonly #model: WordModel;
  /** Added tokens that are looked for in the text, and in the normalized text. */
  readonly #splitter: AddedTokenSplitter;
  readonly #normalizedSplitter: AddedTokenSplitter;

  private constructor(parts: {
    vocabulary: JsonVocabulary;
    decoderConfig: DecoderConfig;
    added: readonly AddedToken[];
    ids: ReadonlyMap<string, number>;
    normalizer: Normalizer | null;
    preTokenizer: PreTokenizer | null;
    model: WordModel;
    splitter: AddedTokenSplitter;
    normalizedSplitter: AddedTokenSplitter;
  }) {
    const { vocabulary, added } = parts;
    this.modelSize =
      vocabulary.type === 'Unigram'
        ? (vocabulary.model.vocab as unknown[]).length
        : vocabulary.ids.size;
    this.modelType = vocabulary.type;
    this.decoderConfig = parts.decoderConfig;
    this.#ids = parts.ids;
    this.#normalizer = parts.normalizer;
    this.#preTokenizer = parts.preTokenizer;
    this.#model = parts.model;
    this.#splitter = parts.splitter;
    this.#normalizedSplitter = parts.normalizedSplitter;
    const tokens = tokenTable(vocabulary.ids);
    // Of pieces that occur twice, both ids have a text.
    if (Array.isArray(vocabulary.model.vocab)) {
      vocabulary.model.vocab.forEach((entry, id) => {
        tokens[id] = (entry as [string])[0];
      });
    }
    for (const { id, content } of added) {
      while (tokens.length < id) tokens.push(undefined);
      tokens[id] = content;
    }
    this.tokens = tokens;
  }

  /**
   * @param json the file's content.
   * @param added added tokens, in place of those in the file.
   * @throws TokenizerError if the file is malformed or needs what is not known.
   */
  static *build(
    json: JsonObject,
    vocabulary: JsonVocabulary,
    added: readonly AddedToken[],
    file: string,
  ): Steps<TokenizerJsonEncoder> {
    checkAddedTokens(added, vocabulary.ids.size, file);
    const { type, model: config } = vocabulary;
    const ids = new Map<string, number>();
    for (const [token, id] of vocabulary.ids) {
      if (ids.size % PIECE === 0) yield;
      ids.set(token, id);
    }
    for (const { content, id } of added) ids.set(content, id);
    const normalizer = readNormalizer(json.normalizer, file);
    let model: WordModel;
    if (type === 'BPE') model = yield* Bpe.build(config, vocabulary.ids, file);
    else if (type === 'Unigram') model = yield* Unigram.build(config, vocabulary.ids, file);
    else model = new WordPiece(config, vocabulary.ids);
    const plain = new Map<string, AddedToken>();
    const normalized = new Map<string, AddedToken>();
    for (const token of added) {
      if (token.normalized) {
        const text =
          normalizer === null ? token.content : yield* normalizer.normalize(token.content);
        if (text !== '') normalized.set(text, token);
      } else {
        plain.set(token.content, token);
      }
    }
    return new TokenizerJsonEncoder({
      vocabulary,
      decoderConfig: (json.decoder ?? null) as DecoderConfig,
      added,
      ids,
      normalizer,
      preTokenizer: readPreTokenizer(json.pre_tokenizer, file),
      model,
      splitter: yield* AddedTokenSplitter.build(plain),
      normalizedSplitter: yield* AddedTokenSplitter.build(normalized),
    });
  }

  idOf(token: string): number | undefined {
    return this.#ids.get(token);
  }

  *encode(text: string): Steps<number[]> {
    const out: number[] = [];
    for (const stretch of yield* this.#splitter.split(text)) {
      if (stretch.token !== null) {
        out.push(stretch.token.id);
        continue;
      }
      let part = text.slice(stretch.start, stretch.end);
      if (this.#normalizer !== null) part = yield* this.#normalizer.normalize(part);
      for (const inner of yield* this.#normalizedSplitter.split(part)) {
        if (inner.token !== null) {
          out.push(inner.token.id);
          continue;
        }
        const first = stretch.start === 0 && inner.start === 0;
        yield* this.#encodePlain(part.slice(inner.start, inner.end), first, out);
      }
    }
    return out;
  }

  *#encodePlain(text: string, first: boolean, out: number[]): Steps<void> {
    const words =
      this.#preTokenizer === null ? [text] : yield* this.#preTokenizer.split(text, first);
    for (let i = 0; i < words.length; i++) {
      if (i % PIECE === PIECE - 1) yield;
      yield* this.#model.encode(words[i] as string, out);
    }
  }
}
