import { PrefixIndex } from './models/prefix-index.js';
import type { AddedToken } from './special-tokens.js';
import type { Steps } from './steps.js';
import { endOfSpace, startOfSpace } from './white-space.js';

/** A stretch of the text: an added token, or null for what is between them. */
export interface Stretch {
  start: number;
  end: number;
  token: AddedToken | null;
}

const WORD = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]$/u;
/** Places between two where the work may be interrupted. */
const PIECE = 4096;

/** Finds added tokens in a text, the longest one at each place, as the tokenizers crate does. */
export class AddedTokenSplitter {
  readonly #index: PrefixIndex;
  readonly #tokens: readonly AddedToken[];

  private constructor(index: PrefixIndex, tokens: readonly AddedToken[]) {
    this.#index = index;
    this.#tokens = tokens;
  }

  /** @param texts what to look for, with the token that it stands for; none of them empty. */
  static *build(texts: ReadonlyMap<string, AddedToken>): Steps<AddedTokenSplitter> {
    const tokens = [...texts.values()];
    const positions = new Map([...texts.keys()].map((text, i) => [text, i]));
    return new AddedTokenSplitter(yield* PrefixIndex.build(positions), tokens);
  }

  /** Stretches of the text; none of them is empty. */
  *split(text: string): Steps<Stretch[]> {
    const stretches: Stretch[] = [];
    let done = 0;
    let position = -1;
    const found = (_length: number, value: number): void => {
      position = value;
    };
    for (let at = 0, pause = PIECE; at < text.length; ) {
      if (at >= pause) {
        pause = at + PIECE;
        yield;
      }
      const length = this.#index.match(text, at, found);
      if (length === 0) {
        at++;
        continue;
      }
      const token = this.#tokens[position] as AddedToken;
      let start = at;
      let end = at + length;
      at = end;
      if (token.single_word && (endsInWord(text, start) || startsWithWord(text, end))) continue;
      if (token.lstrip) start = startOfSpace(text, start, done);
      if (token.rstrip) end = endOfSpace(text, end);
      // White space that is a token may have gone to the one before.
      start = Math.max(start, done);
      if (start > done) stretches.push({ start: done, end: start, token: null });
      stretches.push({ start, end, token });
      done = end;
    }
    if (done < text.length) stretches.push({ start: done, end: text.length, token: null });
    return stretches;
  }
}

function endsInWord(text: string, at: number): boolean {
  if (at === 0) return false;
  const whole = at > 1 ? String.fromCodePoint(text.codePointAt(at - 2) as number) : '';
  return WORD.test(whole.length === 2 ? whole : (text[at - 1] as string));
}

function startsWithWord(text: string, at: number): boolean {
  return at < text.length && WORD.test(String.fromCodePoint(text.codePointAt(at) as number));
}
