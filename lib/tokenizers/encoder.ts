import { Tokenizer } from '@huggingface/tokenizers';
import { isObject, type JsonObject } from '../checkpoint/strict-json.js';
import { KomtError, TokenizerError } from '../errors.js';
import type { DecoderConfig } from './decoder.js';
import type { SentencePieceProcessor } from './sentencepiece/processor.js';
import { PieceType } from './sentencepiece/proto.js';
import type { AddedToken } from './special-tokens.js';

/** Text to ids without special tokens around it, and the vocabulary. What PreTrainedTokenizer stands on. */
export interface Encoder {
  /** Token of each id, added tokens included; holes are undefined. */
  readonly tokens: readonly (string | undefined)[];
  /** Number of tokens of the model itself. */
  readonly modelSize: number;
  /** 'BPE', 'Unigram' or 'WordPiece'. */
  readonly modelType: string;
  readonly decoderConfig: DecoderConfig;
  idOf(token: string): number | undefined;
  encode(text: string): number[];
  /** Decodes by the engine itself; for decoders that cannot be compiled. */
  decodeAll(tokens: readonly string[]): string;
}

const KNOWN_MODELS = ['BPE', 'Unigram', 'WordPiece'];
const utf8 = new TextEncoder();

/** Runs a tokenizer.json through `@huggingface/tokenizers`. */
export class TokenizerJsonEncoder implements Encoder {
  readonly tokens: (string | undefined)[] = [];
  readonly modelSize: number;
  readonly modelType: string;
  readonly decoderConfig: DecoderConfig;
  readonly #engine: Tokenizer;

  /**
   * @param json the file's content.
   * @param added added tokens, in place of those in the file.
   * @throws TokenizerError if the file is malformed or needs what is not known.
   */
  constructor(json: JsonObject, added: readonly AddedToken[], file: string) {
    const model = json.model;
    const type = isObject(model) ? String(model.type ?? '') : '';
    if (!isObject(model) || !KNOWN_MODELS.includes(type) || typeof model.vocab !== 'object') {
      throw new TokenizerError('Unsupported tokenizer model', {
        file,
        subject: 'model.type',
        expected: KNOWN_MODELS.join(', '),
        found: type === '' ? 'none' : type,
        remedy: 'The file is damaged, or belongs to another kind of model.',
      });
    }
    this.modelType = type;
    this.decoderConfig = (json.decoder ?? null) as DecoderConfig;
    try {
      this.#engine = new Tokenizer(
        {
          normalizer: null,
          pre_tokenizer: null,
          ...json,
          post_processor: null,
          decoder: this.decoderConfig,
          added_tokens: added,
        },
        {},
      );
    } catch (cause) {
      if (cause instanceof KomtError) throw cause;
      throw new TokenizerError(`Cannot build the tokenizer: ${(cause as Error).message}`, {
        file,
        cause,
      });
    }
    this.modelSize = Object.keys(model.vocab as object).length;
    for (const [token, id] of this.#engine.get_vocab()) this.tokens[id] = token;
    if (type === 'Unigram' && model.byte_fallback === true) this.#addByteFallback();
    if (isObject(json.pre_tokenizer)) this.#completeMetaspace(json.pre_tokenizer);
  }

  idOf(token: string): number | undefined {
    return this.#engine.token_to_id(token);
  }

  encode(text: string): number[] {
    return this.#engine.encode(text, { add_special_tokens: false }).ids;
  }

  decodeAll(tokens: readonly string[]): string {
    return this.#engine.decoder === null
      ? tokens.join(' ')
      : this.#engine.decoder.decode([...tokens]);
  }

  /** The engine's Metaspace knows neither `split` (default true) nor the older `add_prefix_space`. */
  #completeMetaspace(config: JsonObject): void {
    if (config.type !== 'Metaspace') return;
    const metaspace = this.#engine.pre_tokenizer as unknown as {
      replacement: string;
      prepend_scheme: string;
      pre_tokenize_text(text: string, options: unknown): string[];
    };
    if (config.prepend_scheme === undefined && config.add_prefix_space === false) {
      metaspace.prepend_scheme = 'never';
    }
    if (config.split === false) return;
    const replaceSpaces = metaspace.pre_tokenize_text.bind(metaspace);
    const boundary = new RegExp(`(?=${escapeRegExp(metaspace.replacement)})`, 'u');
    metaspace.pre_tokenize_text = (text, options) =>
      replaceSpaces(text, options).flatMap((words) => words.split(boundary));
  }

  /** The engine's unigram model knows no byte fallback: what it could not split becomes bytes here. */
  #addByteFallback(): void {
    const model = this.#engine.model as unknown as { encode(words: string[]): string[] };
    const split = model.encode.bind(model);
    const byteToken = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
    model.encode = (words) =>
      split(words).flatMap((piece) => {
        if (this.idOf(piece) !== undefined) return [piece];
        const bytes = Array.from(utf8.encode(piece), byteToken);
        return bytes.every((byte) => this.idOf(byte) !== undefined) ? bytes : [piece];
      });
  }
}

/** Decoders that transformers writes for Llama, up to the one that takes the prefix space away. */
const LLAMA_DECODERS: readonly object[] = [
  { type: 'Replace', pattern: { String: '\u2581' }, content: ' ' },
  { type: 'ByteFallback' },
  { type: 'Fuse' },
];

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
  readonly #added = new Map<string, AddedToken>();
  readonly #splitter: RegExp | null;

  constructor(
    processor: SentencePieceProcessor,
    added: readonly AddedToken[],
    options: SentencePieceOptions,
  ) {
    this.#processor = processor;
    this.#options = options;
    this.tokens = processor.proto.pieces.map(({ piece }) => piece);
    this.modelSize = this.tokens.length;
    this.modelType = processor.proto.modelType === 'bpe' ? 'BPE' : 'Unigram';
    const strip = { type: 'Strip', content: ' ', start: 1, stop: 0 };
    const decoders = options.addPrefixSpace ? [...LLAMA_DECODERS, strip] : LLAMA_DECODERS;
    this.decoderConfig = { type: 'Sequence', decoders };
    for (const token of added) {
      this.tokens[token.id] = token.content;
      this.#added.set(token.content, token);
    }
    this.tokens.forEach((token, id) => {
      if (token !== undefined && !this.#ids.has(token)) this.#ids.set(token, id);
    });
    for (const token of added) this.#ids.set(token.content, token.id);
    const contents = added.map(({ content }) => content).sort((a, b) => b.length - a.length);
    this.#splitter =
      contents.length === 0 ? null : new RegExp(`(${contents.map(escapeRegExp).join('|')})`, 'u');
  }

  idOf(token: string): number | undefined {
    return this.#ids.get(token);
  }

  encode(text: string): number[] {
    const sections = this.#splitter === null ? [text] : text.split(this.#splitter);
    const out: number[] = [];
    sections.forEach((section, i) => {
      // The capture group puts the separators at odd places.
      const token = i % 2 === 1 ? this.#added.get(section) : undefined;
      if (token !== undefined) {
        out.push(token.id);
        return;
      }
      let stretch = section;
      if (this.#added.get(sections[i - 1] ?? '')?.rstrip) stretch = stretch.trimStart();
      if (this.#added.get(sections[i + 1] ?? '')?.lstrip) stretch = stretch.trimEnd();
      if (stretch === '') return;
      const prefix = this.#options.addPrefixSpace && (this.#options.legacy || i === 0);
      for (const id of this.#processor.encode(stretch, prefix)) out.push(id);
    });
    return out;
  }

  decodeAll(tokens: readonly string[]): string {
    return tokens.join('');
  }
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
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
