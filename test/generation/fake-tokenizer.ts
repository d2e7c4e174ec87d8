import type { StopStringTokenizer } from '../../lib/generation/stop-strings.js';

/** A tokenizer whose tokens are what a test says, for criteria that look at text. */
export interface FakeTokenizer extends StopStringTokenizer {
  readonly size: number;
  /** Id of a token. */
  id(token: string): number;
  /** Id of the token that is one byte. */
  byteId(byte: number): number;
}

const hex = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;

/** The text's characters as tokens, its bytes where a character is none. */
function encodeWith(has: (token: string) => boolean, id: (token: string) => number) {
  return (text: string): number[] =>
    [...text].flatMap((char) =>
      has(char) ? [id(char)] : [...Buffer.from(char)].map((byte) => id(hex(byte))),
    );
}

function make(vocab: readonly string[], bytesOf: (token: string) => number[]): FakeTokenizer {
  const ids = new Map(vocab.map((token, i) => [token, i]));
  const id = (token: string): number => {
    const found = ids.get(token);
    if (found === undefined) throw new Error(`no token ${token}`);
    return found;
  };
  return {
    size: vocab.length,
    id,
    byteId: (byte) => id(hex(byte)),
    get_vocab: () => Object.fromEntries(ids),
    encode: encodeWith((token) => ids.has(token), id),
    decode: (list) =>
      Buffer.from(list.flatMap((i) => bytesOf(vocab[i] as string))).toString('utf8'),
  };
}

const LETTERS = [...'abcdef'];

/** A SentencePiece-like vocabulary: all 256 bytes, the letters a to f, and the given tokens. */
export function byteFallbackTokenizer(tokens: readonly string[]): FakeTokenizer {
  const bytes = Array.from({ length: 256 }, (_, byte) => hex(byte));
  return make([...new Set([...bytes, ...LETTERS, ...tokens])], (token) => {
    const match = /^<0x(..)>$/.exec(token);
    return match ? [Number.parseInt(match[1] as string, 16)] : [...Buffer.from(token)];
  });
}

/** A vocabulary of texts only. */
export function plainTokenizer(tokens: readonly string[]): FakeTokenizer {
  return make([...new Set([...LETTERS, ...tokens])], (token) => [...Buffer.from(token)]);
}

/** A GPT-2-like vocabulary: each byte as a printable character, and the given texts in them. */
export function byteLevelTokenizer(texts: readonly string[]): FakeTokenizer & {
  /** The token of a text or of bytes. */
  token(text: string | Uint8Array): number;
} {
  const printable = (byte: number): boolean =>
    (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  const alphabet = Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(printable(byte) ? byte : next++),
  );
  const write = (text: string | Uint8Array): string =>
    [...Buffer.from(text as string)].map((byte) => alphabet[byte]).join('');
  const tokenizer = make([...new Set([...alphabet, ...texts.map(write)])], (token) =>
    [...token].map((char) => alphabet.indexOf(char)),
  );
  return { ...tokenizer, token: (text) => tokenizer.id(write(text)) };
}
