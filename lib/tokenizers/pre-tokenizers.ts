import { TokenizerError } from '../errors.js';
import { CHARACTER_OF_BYTE } from './byte-alphabet.js';
import { type Component, readComponents } from './components.js';
import { type Pattern, readPattern } from './regex/pattern.js';
import { PAUSED } from './regex/search.js';
import type { Steps } from './steps.js';

/** Cuts the text into the words that the model sees. */
export interface PreTokenizer {
  /** @param first whether the text begins here. */
  split(text: string, first: boolean): Steps<string[]>;
}

type Step = (piece: string, first: boolean, out: string[]) => Steps<void>;

/** Words between two places where the work may be interrupted. */
const PIECE = 1024;

const BEHAVIORS = [
  'Isolated',
  'Removed',
  'MergedWithPrevious',
  'MergedWithNext',
  'Contiguous',
] as const;
/** What becomes of the text that a pattern matches; see `SplitDelimiterBehavior` of the tokenizers crate. */
type Behavior = (typeof BEHAVIORS)[number];

/**
 * Reads the `pre_tokenizer` section of a tokenizer.json; null where there is none.
 *
 * @throws TokenizerError for what is malformed or not known.
 */
export function readPreTokenizer(config: unknown, file: string): PreTokenizer | null {
  const components = readComponents(config, 'pre_tokenizer', 'pretokenizers', file);
  const steps = components.flatMap((component) => readSteps(component, file));
  if (steps.length === 0) return null;
  return {
    *split(text, first) {
      let pieces = [text];
      for (const step of steps) {
        const next: string[] = [];
        for (let i = 0; i < pieces.length; i++) {
          if (i % PIECE === PIECE - 1) yield;
          yield* step(pieces[i] as string, first && i === 0, next);
        }
        pieces = next;
      }
      return pieces;
    },
  };
}

function readSteps(component: Component, file: string): Step[] {
  const regex = (source: string) => readPattern({ Regex: source }, file);
  switch (component.type) {
    case 'Split': {
      const behavior = BEHAVIORS.find((name) => name === component.behavior);
      if (behavior === undefined) {
        throw new TokenizerError('Malformed pre_tokenizer Split', {
          file,
          subject: 'behavior',
          expected: BEHAVIORS.join(', '),
          found: component.behavior,
        });
      }
      return [split(readPattern(component.pattern, file), behavior, component.invert === true)];
    }
    case 'ByteLevel':
      return byteLevel(component, file);
    case 'Metaspace':
      return metaspace(component, file);
    case 'Whitespace':
      return [split(regex(String.raw`\w+|[^\w\s]+`), 'Removed', true)];
    case 'WhitespaceSplit':
      return [split(regex(String.raw`\s`), 'Removed', false)];
    case 'CharDelimiterSplit':
      return [split(readPattern({ String: component.delimiter }, file), 'Removed', false)];
    case 'Punctuation': {
      const behavior = BEHAVIORS.find((name) => name === (component.behavior ?? 'Isolated'));
      return [split(regex(PUNCTUATION), behavior ?? 'Isolated', false)];
    }
    case 'BertPreTokenizer':
      return [
        split(regex(String.raw`\s`), 'Removed', false),
        split(regex(PUNCTUATION), 'Isolated', false),
      ];
    case 'Digits':
      return [
        split(
          regex(String.raw`\p{N}`),
          component.individual_digits === true ? 'Isolated' : 'Contiguous',
          false,
        ),
      ];
    case 'FixedLength':
      return [fixedLength(component, file)];
    default:
      throw new TokenizerError(`Unknown PreTokenizer type: ${component.type}`, { file });
  }
}

/** Punctuation of Unicode, and every sign of ASCII. */
const PUNCTUATION = String.raw`[\p{P}!-/:-@\[-\x60{-~]`;

interface Range {
  start: number;
  end: number;
  match: boolean;
}

function split(pattern: Pattern, behavior: Behavior, invert: boolean): Step {
  return function* (piece, _first, out) {
    const ranges: Range[] = [];
    const add = (start: number, end: number, match: boolean) => {
      ranges.push({ start, end, match: match !== invert });
    };
    const matches = pattern.search(piece);
    let end = 0;
    for (let from = 0; from <= piece.length; ) {
      const found = matches.next(from);
      if (found === PAUSED) {
        yield;
        continue;
      }
      if (found === null) break;
      if (ranges.length % PIECE === PIECE - 1) yield;
      if (found[0] > end) add(end, found[0], false);
      add(found[0], found[1], true);
      end = found[1];
      from = end > found[0] ? end : end + 1;
    }
    if (end < piece.length) add(end, piece.length, false);
    for (const range of merged(ranges, behavior)) {
      if (range.end > range.start) out.push(piece.slice(range.start, range.end));
    }
  };
}

function merged(ranges: Range[], behavior: Behavior): Range[] {
  if (behavior === 'Isolated') return ranges;
  if (behavior === 'Removed') return ranges.filter(({ match }) => !match);
  const out: Range[] = [];
  let previous = false;
  const backwards = behavior === 'MergedWithNext';
  for (let i = 0; i < ranges.length; i++) {
    const range = ranges[backwards ? ranges.length - 1 - i : i] as Range;
    const last = out.at(-1);
    const joins = behavior === 'Contiguous' ? range.match === previous : range.match && !previous;
    if (last !== undefined && joins) {
      if (backwards) last.start = range.start;
      else last.end = range.end;
    } else {
      out.push({ ...range });
    }
    previous = range.match;
  }
  return backwards ? out.reverse() : out;
}

/** GPT-2's pattern; `\s` is White_Space, as in Oniguruma. */
const GPT2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

const utf8 = new TextEncoder();
/** Bytes that are spelled at one go. */
const BYTES = 16_384;

function byteLevel(component: Component, file: string): Step[] {
  const steps: Step[] = [];
  if (component.add_prefix_space === true) {
    // biome-ignore lint/correctness/useYield: too short to be interrupted
    steps.push(function* (piece, _first, out) {
      out.push(piece.startsWith(' ') ? piece : ` ${piece}`);
    });
  }
  if (component.use_regex !== false) {
    steps.push(split(readPattern({ Regex: GPT2 }, file), 'Isolated', false));
  }
  steps.push(function* (piece, _first, out) {
    const bytes = utf8.encode(piece);
    let text = '';
    for (let i = 0; i < bytes.length; i++) {
      if (i % BYTES === BYTES - 1) yield;
      text += CHARACTER_OF_BYTE[bytes[i] as number];
    }
    out.push(text);
  });
  return steps;
}

function metaspace(component: Component, file: string): Step[] {
  const replacement = component.replacement ?? '\u2581';
  if (typeof replacement !== 'string' || [...replacement].length !== 1) {
    throw new TokenizerError('Malformed pre_tokenizer Metaspace', {
      file,
      subject: 'replacement',
      expected: 'one character',
      found: replacement,
    });
  }
  const scheme =
    component.prepend_scheme ?? (component.add_prefix_space === false ? 'never' : 'always');
  // biome-ignore lint/correctness/useYield: too short to be interrupted
  const prefix: Step = function* (piece, first, out) {
    const text = piece.replaceAll(' ', replacement);
    const wanted = scheme === 'always' || (scheme === 'first' && first);
    out.push(wanted && !text.startsWith(replacement) ? replacement + text : text);
  };
  if (component.split === false) return [prefix];
  return [prefix, split(readPattern({ String: replacement }, file), 'MergedWithNext', false)];
}

function fixedLength(component: Component, file: string): Step {
  const length = component.length ?? 5;
  if (!Number.isSafeInteger(length) || (length as number) < 1) {
    throw new TokenizerError('Malformed pre_tokenizer FixedLength', {
      file,
      subject: 'length',
      expected: 'a positive integer',
      found: length,
    });
  }
  return function* (piece, _first, out) {
    const characters = Array.from(piece);
    for (let at = 0; at < characters.length; at += length as number) {
      if (out.length % PIECE === 0) yield;
      out.push(characters.slice(at, at + (length as number)).join(''));
    }
  };
}
