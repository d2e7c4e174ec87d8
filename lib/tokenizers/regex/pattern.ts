import { isObject } from '../../bounded-json.js';
import { TokenizerError } from '../../errors.js';
import { SplitPreTokenizer } from '../huggingface.js';
import { UnsupportedPattern } from './parse.js';
import { compileRegex, type Program } from './program.js';
import { PUBLISHED } from './published.js';
import { PAUSED, Search, SearchBudgetExceeded } from './search.js';

/** Finds matches from left to right; calls must go forwards. */
export interface Matches {
  /**
   * First match that starts at `from` or later: start and end, or null. PAUSED, where the work may be
   * interrupted: the same call goes on.
   *
   * @throws TokenizerError if it takes too long.
   */
  next(from: number): readonly [number, number] | null | typeof PAUSED;
}

/** What a `Split` or `Replace` of a tokenizer.json looks for. Matching takes time linear in the text. */
export interface Pattern {
  search(text: string): Matches;
}

/** Units of a pattern; published ones have 300. */
const MAX_PATTERN_LENGTH = 4096;

class LiteralPattern implements Pattern {
  constructor(private readonly literal: string) {}

  search(text: string): Matches {
    const { literal } = this;
    return {
      next(from) {
        // As in the tokenizers crate, nothing matches the empty text.
        const at = literal === '' ? -1 : text.indexOf(literal, from);
        return at < 0 ? null : [at, at + literal.length];
      },
    };
  }
}

/** Units that JavaScript's engine is shown at a time: it cannot be interrupted, nor can it match 8 MB. */
const WINDOW = 16_384;
/** Published patterns look one character past their match. */
const MARGIN = 8;

/** A published pattern. What reaches past the window is left to {@link Search}. */
class NativePattern implements Pattern {
  constructor(
    private readonly regex: RegExp,
    private readonly careful: ProgramPattern,
  ) {}

  search(text: string): Matches {
    const { regex, careful } = this;
    let window = '';
    let start = 0;
    let slow: Matches | null = null;
    return {
      next(from) {
        if (slow === null) {
          if (from - start > window.length / 2 || window === '') {
            start = from;
            window = text.slice(start, start + WINDOW);
          }
          regex.lastIndex = from - start;
          const match = regex.exec(window);
          const end = match === null ? window.length : match.index + match[0].length;
          if (start + window.length >= text.length || end < window.length - MARGIN) {
            return match === null ? null : [start + match.index, start + end];
          }
          slow = careful.search(text);
        }
        const match = slow.next(from);
        if (match !== PAUSED) slow = null;
        return match;
      },
    };
  }
}

/** A pattern of unknown making. */
class ProgramPattern implements Pattern {
  readonly #program: Program;
  readonly #source: string;

  constructor(program: Program, source: string) {
    this.#program = program;
    this.#source = source;
  }

  search(text: string): Matches {
    const search = new Search(this.#program, text);
    return {
      next: (from) => {
        try {
          return search.next(from);
        } catch (error) {
          if (!(error instanceof SearchBudgetExceeded)) throw error;
          throw new TokenizerError('A regular expression of the tokenizer takes too long', {
            subject: shorten(this.#source),
            expected: `${error.message} in proportion to the text`,
            remedy: 'The file is hostile, or its pattern looks far ahead from every place.',
          });
        }
      },
    };
  }
}

/**
 * Reads a pattern: `{ "String": ... }` or `{ "Regex": ... }` in Oniguruma's syntax.
 *
 * @throws TokenizerError if it is malformed, or cannot be matched in linear time.
 */
export function readPattern(config: unknown, file: string): Pattern {
  const { String: literal, Regex: regex } = isObject(config) ? config : {};
  if (typeof literal === 'string') return new LiteralPattern(literal);
  if (typeof regex !== 'string') {
    throw new TokenizerError('Malformed pattern', {
      file,
      expected: 'an object with a String or a Regex',
      found: config,
    });
  }
  if (regex.length > MAX_PATTERN_LENGTH) {
    throw new TokenizerError('A regular expression of the tokenizer is too long', {
      file,
      subject: shorten(regex),
      expected: `at most ${MAX_PATTERN_LENGTH} units`,
      found: regex.length,
    });
  }
  try {
    // The library rewrites Oniguruma's syntax to JavaScript's.
    const translated = new SplitPreTokenizer({
      type: 'Split',
      pattern: { Regex: regex },
      behavior: 'Isolated',
      invert: false,
    }).pattern;
    const pattern = new ProgramPattern(compileRegex(translated.source), regex);
    return PUBLISHED.has(regex) ? new NativePattern(translated, pattern) : pattern;
  } catch (cause) {
    const unsupported = cause instanceof UnsupportedPattern;
    throw new TokenizerError(
      unsupported
        ? 'A regular expression of the tokenizer cannot be matched in linear time'
        : 'Malformed regular expression',
      {
        file,
        subject: shorten(regex),
        found: (cause as Error).message,
        cause,
      },
    );
  }
}

function shorten(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}...` : text;
}
