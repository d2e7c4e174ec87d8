import type { JsonObject } from '../bounded-json.js';
import { TokenizerError } from '../errors.js';
import { type Component, readComponents, textOf } from './components.js';
import { BertNormalizer, PrecompiledNormalizer } from './huggingface.js';
import { GROWTH_SLACK, MAX_GROWTH } from './limits.js';
import { type Pattern, readPattern } from './regex/pattern.js';
import { PAUSED } from './regex/search.js';
import type { Steps } from './steps.js';
import { endOfSpace, startOfSpace } from './white-space.js';

/** Changes the text before it is cut. */
export interface Normalizer {
  /** @throws TokenizerError if the text grows too much. */
  normalize(text: string): Steps<string>;
}

type Step = (text: string, limit: number) => Steps<string>;

/** Units that are normalized at one go. */
const PIECE = 32_768;

/**
 * Reads the `normalizer` section of a tokenizer.json; null where there is none.
 *
 * @throws TokenizerError for what is malformed or not known.
 */
export function readNormalizer(config: unknown, file: string): Normalizer | null {
  const steps = readComponents(config, 'normalizer', 'normalizers', file).map((component) => ({
    type: component.type,
    step: readStep(component, file),
  }));
  if (steps.length === 0) return null;
  return {
    *normalize(text) {
      const limit = MAX_GROWTH * text.length + GROWTH_SLACK;
      let out = text;
      for (const { type, step } of steps) {
        out = yield* step(out, limit);
        if (out.length > limit) throw growth(type, file, limit);
      }
      return out;
    },
  };
}

function growth(type: string, file: string, limit: number): TokenizerError {
  return new TokenizerError(`The normalizer ${type} makes the text too long`, {
    file,
    expected: `at most ${limit} units, ${MAX_GROWTH} for each of the text's and ${GROWTH_SLACK}`,
    remedy: 'The file is damaged or hostile: no published normalizer does that.',
  });
}

function readStep(component: Component, file: string): Step {
  const text = (name: string) => textOf(component, name, 'normalizer', file);
  switch (component.type) {
    case 'Replace': {
      const content = text('content');
      const literal = (component.pattern as JsonObject | undefined)?.String;
      // One unit may be replaced in pieces by one unit, which is what SentencePiece's layouts do.
      if (typeof literal === 'string' && literal.length === 1 && content.length === 1) {
        return inPieces((piece) => piece.replaceAll(literal, () => content), true);
      }
      const pattern = readPattern(component.pattern, file);
      return (input, limit) =>
        replace(input, pattern, content, () => growth('Replace', file, limit), limit);
    }
    case 'Prepend': {
      const prefix = text('prepend');
      return atOnce((input) => (input === '' ? '' : prefix + input));
    }
    case 'Strip':
      return atOnce((input) => {
        const start = component.strip_left === true ? endOfSpace(input, 0) : 0;
        const end =
          component.strip_right === true ? startOfSpace(input, input.length, start) : input.length;
        return input.slice(start, end);
      });
    case 'StripAccents':
      return inPieces((piece) => piece.replace(/\p{M}/gu, ''));
    case 'Lowercase':
      // Rust does not look at a sigma's place in the word.
      return inPieces((piece) => piece.replaceAll('Σ', 'σ').toLowerCase());
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD': {
      const form = component.type;
      return inPieces((piece) => piece.normalize(form));
    }
    case 'BertNormalizer': {
      const bert = new BertNormalizer(component);
      return inPieces((piece) => bert.normalize(piece));
    }
    case 'Precompiled': {
      const precompiled = new PrecompiledNormalizer(component);
      return inPieces((piece) => precompiled.normalize(piece));
    }
    default:
      throw new TokenizerError(`Unknown Normalizer type: ${component.type}`, { file });
  }
}

function atOnce(change: (text: string) => string): Step {
  // biome-ignore lint/correctness/useYield: a step like the others, and too short to be interrupted
  return function* (text) {
    return change(text);
  };
}

/** For changes that do not look across the places where {@link cut} cuts, or across `anywhere`. */
function inPieces(change: (text: string) => string, anywhere = false): Step {
  return function* (text) {
    if (text.length <= PIECE) return change(text);
    const parts: string[] = [];
    for (let start = 0; start < text.length; ) {
      const end = anywhere ? start + PIECE : cut(text, start + PIECE);
      parts.push(change(text.slice(start, end)));
      start = end;
      yield;
    }
    return parts.join('');
  };
}

/**
 * A place at `from` or later where a text may be cut without changing its normalization: before a
 * character of ASCII or a Hangul syllable, which compose with nothing before them.
 */
function cut(text: string, from: number): number {
  for (let at = from; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit < 0x80 || (unit >= 0xac00 && unit <= 0xd7a3)) return at;
  }
  return text.length;
}

/** Replaces matches by `content`, as it stands. */
export function* replace(
  text: string,
  pattern: Pattern,
  content: string,
  tooLong: () => Error,
  limit: number,
): Steps<string> {
  const matches = pattern.search(text);
  const parts: string[] = [];
  let length = text.length;
  let from = 0;
  let end = 0;
  for (let count = 1; from <= text.length; ) {
    const match = matches.next(from);
    if (match === PAUSED) {
      yield;
      continue;
    }
    if (match === null) break;
    if (count++ % 4096 === 0) yield;
    length += content.length - (match[1] - match[0]);
    if (length > limit) throw tooLong();
    parts.push(text.slice(end, match[0]), content);
    end = match[1];
    from = end > match[0] ? end : end + 1;
  }
  if (parts.length === 0) return text;
  parts.push(text.slice(end));
  return parts.join('');
}
