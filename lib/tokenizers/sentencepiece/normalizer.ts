import { TokenizerError } from '../../errors.js';
import { GROWTH_SLACK, MAX_GROWTH } from '../limits.js';
import type { PrefixIndex } from '../models/prefix-index.js';
import type { Steps } from '../steps.js';
import { Charsmap } from './charsmap.js';
import type { SentencePieceProto } from './proto.js';

const SPACE_SYMBOL = '\u2581';
const encoder = new TextEncoder();

/** Number of UTF-16 units that make up the first `bytes` bytes of `text` from `start`. */
function unitsOf(text: string, start: number, bytes: number): number {
  let at = start;
  for (let left = bytes; left > 0; ) {
    const code = text.codePointAt(at) as number;
    left -= code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    at += code < 0x10000 ? 1 : 2;
  }
  return at - start;
}

/** UTF-16 units handed to the charsmap at a time; the longest key of SentencePiece's tables has 18. */
const WINDOW = 32;
/** Characters between two places where the work may be interrupted. */
const PIECE = 1024;

/** SentencePiece's normalizer (`normalizer.cc`): character map, white space, dummy prefix. */
export class SentencePieceNormalizer {
  readonly #charsmap: Charsmap | null;
  readonly #matcher: PrefixIndex;
  readonly #spec: SentencePieceProto['normalizer'];
  readonly #suffix: boolean;
  readonly #file: string;

  constructor(proto: SentencePieceProto, matcher: PrefixIndex, file: string) {
    const { precompiledCharsmap } = proto.normalizer;
    this.#charsmap =
      precompiledCharsmap.length === 0 ? null : new Charsmap(precompiledCharsmap, file);
    this.#matcher = matcher;
    this.#spec = proto.normalizer;
    this.#suffix = proto.treatWhitespaceAsSuffix;
    this.#file = file;
  }

  /**
   * @param dummyPrefix whether to put the white space in front that marks the start of a word.
   * @throws TokenizerError if the character map makes the text too long.
   */
  *normalize(text: string, dummyPrefix: boolean): Steps<string> {
    const { removeExtraWhitespaces, escapeWhitespaces } = this.#spec;
    const space = escapeWhitespaces ? SPACE_SYMBOL : ' ';
    const input = text.toWellFormed();
    const limit = MAX_GROWTH * text.length + GROWTH_SLACK;
    let at = 0;
    if (removeExtraWhitespaces) {
      while (at < input.length) {
        const { length, text: mapped } = this.#prefix(input, at);
        if (mapped !== ' ') break;
        at += length;
      }
    }
    if (at >= input.length) return '';
    let out = dummyPrefix && !this.#suffix ? space : '';
    let previousSpace = removeExtraWhitespaces;
    for (let count = 1; at < input.length; count++) {
      if (count % PIECE === 0) yield;
      const { length, text: mapped } = this.#prefix(input, at);
      at += length;
      let piece = mapped;
      while (previousSpace && piece.startsWith(' ')) piece = piece.slice(1);
      if (piece !== '') {
        out += escapeWhitespaces ? piece.replaceAll(' ', SPACE_SYMBOL) : piece;
        previousSpace = removeExtraWhitespaces && piece.endsWith(' ');
      }
      if (out.length > limit) {
        throw new TokenizerError('The character map of the model makes the text too long', {
          file: this.#file,
          expected: `at most ${limit} units, ${MAX_GROWTH} for each of the text's and ${GROWTH_SLACK}`,
        });
      }
    }
    if (removeExtraWhitespaces) {
      while (out.endsWith(space)) out = out.slice(0, -space.length);
    }
    return dummyPrefix && this.#suffix ? out + space : out;
  }

  /** What the text at `at` starts with, mapped, and how many UTF-16 units of it that is. */
  #prefix(text: string, at: number): { length: number; text: string } {
    const fixed = this.#matcher.match(text, at);
    if (fixed > 0) return { length: fixed, text: text.slice(at, at + fixed) };
    if (this.#charsmap !== null) {
      const window = encoder.encode(text.slice(at, at + WINDOW));
      const found = this.#charsmap.match(window, 0);
      if (found !== null) return { length: unitsOf(text, at, found.length), text: found.text };
    }
    const char = String.fromCodePoint(text.codePointAt(at) as number);
    return { length: char.length, text: char };
  }
}
