import { SentencePieceBpe } from './bpe.js';
import { SentencePieceNormalizer } from './normalizer.js';
import { PrefixMatcher } from './prefix-matcher.js';
import { readSentencePieceModel, type SentencePieceProto } from './proto.js';
import { SentencePieceUnigram } from './unigram.js';
import { type SentencePieceModel, SentencePieceVocabulary } from './vocabulary.js';

const encoder = new TextEncoder();

/** Text to ids by a `tokenizer.model`, as the `sentencepiece` package's `encode` does it. */
export class SentencePieceProcessor {
  readonly proto: SentencePieceProto;
  readonly #vocabulary: SentencePieceVocabulary;
  readonly #normalizer: SentencePieceNormalizer;
  readonly #model: SentencePieceModel;

  /** @throws TokenizerError if the file is damaged or of an unknown kind. */
  constructor(bytes: Uint8Array, file: string) {
    this.proto = readSentencePieceModel(bytes, file);
    this.#vocabulary = new SentencePieceVocabulary(this.proto);
    const matcher = new PrefixMatcher(this.#vocabulary.userDefined());
    this.#normalizer = new SentencePieceNormalizer(this.proto, matcher, file);
    this.#model =
      this.proto.modelType === 'bpe'
        ? new SentencePieceBpe(this.#vocabulary, matcher)
        : new SentencePieceUnigram(this.#vocabulary);
  }

  /** @param dummyPrefix overrides the model's `add_dummy_prefix`. */
  encode(text: string, dummyPrefix = this.proto.normalizer.addDummyPrefix): number[] {
    const { ids, byteIds } = this.#vocabulary;
    const out: number[] = [];
    let afterUnknown = false;
    for (const piece of this.#model.split(this.#normalizer.normalize(text, dummyPrefix))) {
      const id = ids.get(piece);
      if (id !== undefined) {
        out.push(id);
      } else if (byteIds !== null) {
        for (const byte of encoder.encode(piece)) out.push(byteIds[byte] as number);
      } else if (!afterUnknown) {
        out.push(this.proto.unkId);
      }
      afterUnknown = id === undefined;
    }
    return out;
  }
}
