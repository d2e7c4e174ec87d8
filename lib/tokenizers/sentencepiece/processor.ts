import { PrefixIndex } from '../models/prefix-index.js';
import type { Steps } from '../steps.js';
import { SentencePieceBpe } from './bpe.js';
import { SentencePieceNormalizer } from './normalizer.js';
import { readSentencePieceModel, type SentencePieceProto } from './proto.js';
import { SentencePieceUnigram } from './unigram.js';
import { type SentencePieceModel, SentencePieceVocabulary, UNKNOWN } from './vocabulary.js';

/** Ids between two places where the work may be interrupted. */
const PIECE = 16_384;

/** Text to ids by a `tokenizer.model`, as the `sentencepiece` package's `encode` does it. */
export class SentencePieceProcessor {
  readonly proto: SentencePieceProto;
  readonly #vocabulary: SentencePieceVocabulary;
  readonly #normalizer: SentencePieceNormalizer;
  readonly #model: SentencePieceModel;

  private constructor(
    vocabulary: SentencePieceVocabulary,
    normalizer: SentencePieceNormalizer,
    model: SentencePieceModel,
  ) {
    this.proto = vocabulary.proto;
    this.#vocabulary = vocabulary;
    this.#normalizer = normalizer;
    this.#model = model;
  }

  /** @throws TokenizerError if the file is damaged or of an unknown kind. */
  static *build(bytes: Uint8Array, file: string): Steps<SentencePieceProcessor> {
    const proto = yield* readSentencePieceModel(bytes, file);
    const vocabulary = new SentencePieceVocabulary(proto);
    const matcher = yield* PrefixIndex.build(vocabulary.userDefined());
    return new SentencePieceProcessor(
      vocabulary,
      new SentencePieceNormalizer(proto, matcher, file),
      proto.modelType === 'bpe'
        ? yield* SentencePieceBpe.build(vocabulary, matcher)
        : yield* SentencePieceUnigram.build(vocabulary),
    );
  }

  /** @param dummyPrefix overrides the model's `add_dummy_prefix`. */
  *encode(text: string, dummyPrefix = this.proto.normalizer.addDummyPrefix): Steps<number[]> {
    const out: number[] = [];
    let afterUnknown = false;
    yield* this.#model.encode(yield* this.#normalizer.normalize(text, dummyPrefix), out);
    if (this.#vocabulary.byteIds !== null) return out;
    // Unknown characters in a row are one unknown token.
    let length = 0;
    for (let i = 0; i < out.length; i++) {
      if (i % PIECE === PIECE - 1) yield;
      const id = out[i] as number;
      if (id !== UNKNOWN) out[length++] = id;
      else if (!afterUnknown) out[length++] = this.proto.unkId;
      afterUnknown = id === UNKNOWN;
    }
    out.length = length;
    return out;
  }
}
