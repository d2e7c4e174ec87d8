import { AddedTokenSplitter, type Stretch } from './added-tokens.js';
import type { DecoderConfig } from './decoder.js';
import { checkAddedTokens, type Encoder, tokenTable } from './encoder.js';
import type { SentencePieceProcessor } from './sentencepiece/processor.js';
import { PieceType } from './sentencepiece/proto.js';
import type { AddedToken } from './special-tokens.js';
import type { Steps } from './steps.js';

/** Decoders that transformers writes for Llama, up to the one that takes the prefix space away. */
const LLAMA_DECODERS: readonly object[] = [
  { type: 'Replace', pattern: { String: '\u2581' }, content: ' ' },
  { type: 'ByteFallback' },
  { type: 'Fuse' },
];

/** Ids between two places where the work may be interrupted. */
const PIECE = 16_384;

/** How a bare tokenizer.model is used; from tokenizer_config.json. */
export interface SentencePieceOptions {
  /** Whether every stretch between added tokens starts with a space (`legacy`), or only the text. */
  legacy: boolean;
  /** Whether a space is put in front at all. */
  addPrefixSpace: boolean;
}

/** Runs a tokenizer.model; added tokens cut the text into stretches first, as transformers' do. */
export class SentencePieceEncoder implements Encoder {
  readonly tokens: (string | undefined)[];
  readonly modelSize: number;
  readonly modelType: string;
  readonly decoderConfig: DecoderConfig;
  readonly #processor: SentencePieceProcessor;
  readonly #options: SentencePieceOptions;
  readonly #ids = new Map<string, number>();
  readonly #splitter: AddedTokenSplitter;

  private constructor(
    processor: SentencePieceProcessor,
    added: readonly AddedToken[],
    splitter: AddedTokenSplitter,
    options: SentencePieceOptions,
  ) {
    this.#processor = processor;
    this.#splitter = splitter;
    this.#options = options;
    const { pieces, modelType } = processor.proto;
    this.tokens = tokenTable(pieces.map(({ piece }, id) => [piece, id] as const));
    this.modelSize = pieces.length;
    this.modelType = modelType === 'bpe' ? 'BPE' : 'Unigram';
    const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 };
    const decoders = options.addPrefixSpace ? [...LLAMA_DECODERS, strip] : LLAMA_DECODERS;
    this.decoderConfig = { type: 'Sequence', decoders };
    for (const { id, content } of added) {
      while (this.tokens.length < id) this.tokens.push(undefined);
      this.tokens[id] = content;
    }
    this.tokens.forEach((token, id) => {
      if (token !== undefined && !this.#ids.has(token)) this.#ids.set(token, id);
    });
    for (const { id, content } of added) this.#ids.set(content, id);
  }

  /** @throws TokenizerError if the added tokens are too long, or their ids out of range. */
  static *build(
    processor: SentencePieceProcessor,
    added: readonly AddedToken[],
    options: SentencePieceOptions,
    file: string,
  ): Steps<SentencePieceEncoder> {
    checkAddedTokens(added, processor.proto.pieces.length, file);
    const splitter = yield* AddedTokenSplitter.build(
      new Map(added.map((token) => [token.content, token])),
    );
    return new SentencePieceEncoder(processor, added, splitter, options);
  }

  idOf(token: string): number | undefined {
    return this.#ids.get(token);
  }

  *encode(text: string): Steps<number[]> {
    const out: number[] = [];
    for (const { start, end, token } of (yield* this.#splitter.split(text)) as Stretch[]) {
      if (token !== null) {
        out.push(token.id);
        continue;
      }
      const { addPrefixSpace, legacy } = this.#options;
      const prefix = addPrefixSpace && (legacy || start === 0);
      const ids = yield* this.#processor.encode(text.slice(start, end), prefix);
      for (let i = 0; i < ids.length; i++) {
        if (i % PIECE === PIECE - 1) yield;
        out.push(ids[i] as number);
      }
    }
    return out;
  }
}

/** The pieces of a tokenizer.model that transformers treats as special tokens. */
export function sentencePieceAddedTokens(processor: SentencePieceProcessor): AddedToken[] {
  const added: AddedToken[] = [];
  processor.proto.pieces.forEach(({ piece, type }, id) => {
    if (type !== PieceType.CONTROL && type !== PieceType.UNKNOWN) return;
    added.push({
      id,
      content: piece,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    });
  });
  return added;
}
