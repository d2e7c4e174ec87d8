/**
 * Strict UTF-8 decoding one byte at a time (Unicode 17, table 3-7), the ground on which text is
 * streamed: a character is given out with its last byte and never before.
 */

/** What {@link Utf8Assembler.push} found out with one more byte. */
export type Utf8Event =
  /** The byte starts or continues a character that is not whole yet. */
  | { kind: 'partial' }
  /** The byte completed this character. */
  | { kind: 'char'; char: string }
  /** `length` bytes, the maximal part of a character that is well formed, turned out to be no character.
   * When `retry` is set the byte itself is not among them and has to be pushed again. */
  | { kind: 'invalid'; length: number; retry: boolean };

const PARTIAL: Utf8Event = { kind: 'partial' };

/** Decoder state for one character at a time. */
export class Utf8Assembler {
  #codePoint = 0;
  #missing = 0;
  #length = 0;
  #low = 0x80;
  #high = 0xbf;

  /** Bytes taken in that do not make a character yet: 0 to 3. */
  get pending(): number {
    return this.#length;
  }

  reset(): void {
    this.#missing = 0;
    this.#length = 0;
    this.#low = 0x80;
    this.#high = 0xbf;
  }

  push(byte: number): Utf8Event {
    if (this.#length === 0) return this.#lead(byte);
    if (byte < this.#low || byte > this.#high) {
      const length = this.#length;
      this.reset();
      return { kind: 'invalid', length, retry: true };
    }
    this.#low = 0x80;
    this.#high = 0xbf;
    this.#codePoint = (this.#codePoint << 6) | (byte & 0x3f);
    this.#length++;
    if (--this.#missing > 0) return PARTIAL;
    this.#length = 0;
    return { kind: 'char', char: String.fromCodePoint(this.#codePoint) };
  }

  #lead(byte: number): Utf8Event {
    if (byte < 0x80) return { kind: 'char', char: String.fromCharCode(byte) };
    if (byte < 0xc2 || byte > 0xf4) return { kind: 'invalid', length: 1, retry: false };
    this.#length = 1;
    if (byte < 0xe0) {
      this.#missing = 1;
      this.#codePoint = byte & 0x1f;
    } else if (byte < 0xf0) {
      this.#missing = 2;
      this.#codePoint = byte & 0x0f;
      // Overlong forms and surrogates are ruled out by the second byte.
      if (byte === 0xe0) this.#low = 0xa0;
      if (byte === 0xed) this.#high = 0x9f;
    } else {
      this.#missing = 3;
      this.#codePoint = byte & 0x07;
      if (byte === 0xf0) this.#low = 0x90;
      if (byte === 0xf4) this.#high = 0x8f;
    }
    return PARTIAL;
  }
}

/** U+FFFD. */
export const REPLACEMENT = '\uFFFD';
