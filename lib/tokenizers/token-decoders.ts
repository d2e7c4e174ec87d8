import { TokenizerError } from '../errors.js';
import { BYTE_OF_CHARACTER } from './byte-alphabet.js';
import { MAX_GROWTH } from './limits.js';
import { REPLACEMENT, Utf8Assembler } from './utf8.js';

/**
 * Decoding as a stream of tokens: `push` gives the text that a token settles, `finish` the rest.
 * Cost is O(length of the token), whatever came before.
 */
export interface TokenDecoder {
  /** Text settled by one more token; '' while a character is not whole. */
  push(token: string): string;
  /** What was still held back. The decoder is then as new. */
  finish(): string;
  /**
   * Marks what has been pushed as not to be shown: bytes that complete a character begun before this
   * call produce no text. For a prompt that ends inside a character.
   */
  conceal(): void;
}

/** Bytes of tokens `<0x00>` to `<0xFF>`. */
const BYTE_TOKEN = /^<0x([0-9A-Fa-f]{2})>$/;

/** The byte a byte-fallback token stands for, or -1. */
export function byteOfToken(token: string): number {
  if (token.length !== 6) return -1;
  const match = BYTE_TOKEN.exec(token);
  return match === null ? -1 : Number.parseInt(match[1] as string, 16);
}

/** A decoder may make a token longer by this, and {@link MAX_GROWTH} times as long. */
const TOKEN_SLACK = 1024;

/** Error of a decoder that makes more text than `limit` units. */
export function decodedTooLong(limit: number): TokenizerError {
  return new TokenizerError('The decoder of tokenizer.json makes the text too long', {
    expected: `at most ${limit} units`,
    remedy: 'The file is damaged or hostile: no published decoder does that.',
  });
}

/** What a piece decoder does with each token, in order; compiled from a tokenizer.json decoder. */
export interface PieceRules {
  /** Token to text, applied before byte tokens are looked for. `first` is the first token of the text. */
  transform: (token: string, first: boolean) => string;
  /** Whether `<0x..>` tokens are bytes of UTF-8 (decoder `ByteFallback`). */
  byteFallback: boolean;
  /** Up to `count` leading `content` characters of the whole text are dropped (`Strip` after `Fuse`). */
  strip: { content: string; count: number };
}

/** Text, or the byte, of tokens that do not come first. As large as the vocabulary at most. */
export type PieceCache = Map<string, string | number>;

/**
 * Decoder of SentencePiece-style vocabularies (`Replace`, `ByteFallback`, `Fuse`, `Strip`, `Metaspace`).
 *
 * In Hugging Face's `ByteFallback` a run of consecutive byte tokens is text if all of it is UTF-8, else
 * one U+FFFD per byte. With `eager` a character of a run is given out as soon as it is whole, so a
 * run that turns bad later keeps the characters that were already given out, and every further byte is a
 * U+FFFD. Without `eager` the whole run decides, as there. On valid text the two are equal.
 */
export class PieceDecoder implements TokenDecoder {
  readonly #rules: PieceRules;
  readonly #cache: PieceCache;
  readonly #eager: boolean;
  readonly #utf8 = new Utf8Assembler();
  #first = true;
  #toStrip: number;
  #run = '';
  #runLength = 0;
  #runInvalid = false;
  #concealed = 0;

  /** @param cache shared by all decoders of the same rules. */
  constructor(rules: PieceRules, eager: boolean, cache: PieceCache) {
    this.#rules = rules;
    this.#cache = cache;
    this.#eager = eager;
    this.#toStrip = rules.strip.count;
  }

  push(token: string): string {
    const piece = this.#first ? this.#read(token, true) : this.#cached(token);
    this.#first = false;
    if (typeof piece === 'number') return this.#strip(this.#pushByte(piece));
    return this.#strip(this.#endRun() + piece);
  }

  finish(): string {
    const text = this.#strip(this.#endRun());
    this.#first = true;
    this.#toStrip = this.#rules.strip.count;
    return text;
  }

  conceal(): void {
    this.#concealed = this.#utf8.pending;
    this.#run = '';
    this.#runLength = this.#concealed;
    this.#runInvalid = false;
    // A text whose first character began before is not at its start: nothing to strip.
    this.#first = this.#concealed === 0;
    this.#toStrip = this.#concealed === 0 ? this.#rules.strip.count : 0;
  }

  #cached(token: string): string | number {
    let piece = this.#cache.get(token);
    if (piece === undefined) {
      piece = this.#read(token, false);
      this.#cache.set(token, piece);
    }
    return piece;
  }

  #read(token: string, first: boolean): string | number {
    const text = this.#rules.transform(token, first);
    const limit = MAX_GROWTH * token.length + TOKEN_SLACK;
    if (text.length > limit) throw decodedTooLong(limit);
    const byte = this.#rules.byteFallback ? byteOfToken(text) : -1;
    return byte >= 0 ? byte : text;
  }

  #pushByte(byte: number): string {
    this.#runLength++;
    if (this.#runInvalid) return this.#eager ? REPLACEMENT : '';
    const event = this.#utf8.push(byte);
    if (event.kind === 'partial') return '';
    if (event.kind === 'invalid') {
      if (event.retry && this.#concealed > 0 && event.length === this.#concealed) {
        // The prompt's character is left unfinished; the run starts with this byte.
        this.#concealed = 0;
        this.#runLength = 0;
        return this.#pushByte(byte);
      }
      this.#runInvalid = true;
      if (!this.#eager) return '';
      const bytes = event.length + (event.retry ? 1 : 0) - this.#concealed;
      this.#concealed = 0;
      return REPLACEMENT.repeat(bytes);
    }
    if (this.#concealed > 0) {
      this.#concealed = 0;
      return '';
    }
    if (this.#eager) return event.char;
    this.#run += event.char;
    return '';
  }

  #endRun(): string {
    if (this.#runLength === 0) return '';
    let text = this.#run;
    if (this.#eager) {
      text = REPLACEMENT.repeat(Math.max(0, this.#utf8.pending - this.#concealed));
    } else if (this.#runInvalid || this.#utf8.pending > 0) {
      text = REPLACEMENT.repeat(this.#runLength);
    }
    this.#utf8.reset();
    this.#run = '';
    this.#runLength = 0;
    this.#runInvalid = false;
    this.#concealed = 0;
    return text;
  }

  #strip(text: string): string {
    let start = 0;
    while (this.#toStrip > 0 && start < text.length) {
      if (text.startsWith(this.#rules.strip.content, start)) {
        start += this.#rules.strip.content.length;
        this.#toStrip--;
      } else {
        this.#toStrip = 0;
      }
    }
    return start === 0 ? text : text.slice(start);
  }
}

const encoder = new TextEncoder();

/**
 * Decoder of byte-level vocabularies (Llama 3, Qwen): tokens spell bytes in GPT-2's alphabet. A token
 * with a character outside it (an added token) stands for its own UTF-8 bytes. Ill-formed bytes become
 * one U+FFFD per maximal part, as Rust's `from_utf8_lossy` does it.
 */
export class ByteLevelDecoder implements TokenDecoder {
  readonly #utf8 = new Utf8Assembler();
  #concealed = 0;

  push(token: string): string {
    let text = '';
    for (const byte of bytesOfToken(token)) text += this.#pushByte(byte);
    return text;
  }

  finish(): string {
    const text = this.#utf8.pending > this.#concealed ? REPLACEMENT : '';
    this.#utf8.reset();
    this.#concealed = 0;
    return text;
  }

  conceal(): void {
    this.#concealed = this.#utf8.pending;
  }

  #pushByte(byte: number): string {
    const event = this.#utf8.push(byte);
    if (event.kind === 'partial') return '';
    const concealed = this.#concealed;
    this.#concealed = 0;
    if (event.kind === 'char') return concealed > 0 ? '' : event.char;
    const bad = event.length > concealed ? REPLACEMENT : '';
    return event.retry ? bad + this.#pushByte(byte) : bad;
  }
}

function bytesOfToken(token: string): Iterable<number> {
  const bytes: number[] = [];
  for (const char of token) {
    const byte = BYTE_OF_CHARACTER.get(char);
    if (byte === undefined) return encoder.encode(token);
    bytes.push(byte);
  }
  return bytes;
}

/**
 * For decoders whose text for a token depends on what follows. With `eager` everything is decoded again
 * for each token (O(n) a token) and what two such texts in a row begin with is given out, up to a
 * trailing U+FFFD; without it, all text comes with `finish`.
 */
export class WholeTextDecoder implements TokenDecoder {
  readonly #decode: (tokens: readonly string[]) => string;
  readonly #eager: boolean;
  #tokens: string[] = [];
  #given = 0;
  #previous = '';

  constructor(decode: (tokens: readonly string[]) => string, eager: boolean) {
    this.#decode = decode;
    this.#eager = eager;
  }

  push(token: string): string {
    this.#tokens.push(token);
    if (!this.#eager) return '';
    const text = this.#decode(this.#tokens);
    let settled = 0;
    const limit = Math.min(text.length, this.#previous.length);
    while (settled < limit && text[settled] === this.#previous[settled]) settled++;
    while (settled > 0 && text[settled - 1] === REPLACEMENT) settled--;
    this.#previous = text;
    const piece = text.slice(this.#given, Math.max(this.#given, settled));
    this.#given += piece.length;
    return piece;
  }

  finish(): string {
    const text = this.#tokens.length === 0 ? '' : this.#decode(this.#tokens);
    const rest = text.slice(this.#given);
    this.conceal();
    return rest;
  }

  conceal(): void {
    this.#tokens = [];
    this.#given = 0;
    this.#previous = '';
  }
}

/** Every character a pattern of {@link cleanUpTokenization} can match. */
const CLEANUP_ALPHABET = " .?!,'nmstvre";

/**
 * Hugging Face's `clean_up_tokenization_spaces`: takes the space before punctuation and English
 * contractions away.
 */
export function cleanUpTokenization(text: string): string {
  return text
    .replaceAll(' .', '.')
    .replaceAll(' ?', '?')
    .replaceAll(' !', '!')
    .replaceAll(' ,', ',')
    .replaceAll(" ' ", "'")
    .replaceAll(" n't", "n't")
    .replaceAll(" 'm", "'m")
    .replaceAll(" 's", "'s")
    .replaceAll(" 've", "'ve")
    .replaceAll(" 're", "'re");
}

/** Applies {@link cleanUpTokenization} to the text of another decoder without seeing its end. */
export class CleaningDecoder implements TokenDecoder {
  readonly #inner: TokenDecoder;
  #held = '';

  constructor(inner: TokenDecoder) {
    this.#inner = inner;
  }

  push(token: string): string {
    this.#held += this.#inner.push(token);
    // No pattern reaches across a character outside the alphabet, so up to there the text is settled.
    let end = this.#held.length;
    while (end > 0 && CLEANUP_ALPHABET.includes(this.#held[end - 1] as string)) end--;
    const text = cleanUpTokenization(this.#held.slice(0, end));
    this.#held = this.#held.slice(end);
    return text;
  }

  finish(): string {
    const text = cleanUpTokenization(this.#held + this.#inner.finish());
    this.#held = '';
    return text;
  }

  conceal(): void {
    this.#inner.conceal();
    this.#held = '';
  }
}
