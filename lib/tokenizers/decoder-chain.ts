import { type Component, textOf } from './components.js';
import { replace } from './normalizers.js';
import { readPattern } from './regex/pattern.js';
import { runAtOnce } from './steps.js';
import {
  ByteLevelDecoder,
  byteOfToken,
  cleanUpTokenization,
  decodedTooLong,
} from './token-decoders.js';
import { REPLACEMENT } from './utf8.js';

/** One decoder of a sequence: a list of strings to a list of strings, as in Rust's `decode_chain`. Units above `limit` are refused. */
export type DecoderStep = (tokens: string[], limit: number) => string[];

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function textOfRun(bytes: readonly number[]): string {
  try {
    return utf8.decode(Uint8Array.from(bytes));
  } catch {
    return REPLACEMENT.repeat(bytes.length);
  }
}

function byteFallback(tokens: string[]): string[] {
  const out: string[] = [];
  let run: number[] = [];
  const endRun = () => {
    if (run.length > 0) out.push(textOfRun(run));
    run = [];
  };
  for (const token of tokens) {
    const byte = byteOfToken(token);
    if (byte >= 0) {
      run.push(byte);
      continue;
    }
    endRun();
    out.push(token);
  }
  endRun();
  return out;
}

const FILE = 'tokenizer.json';
/** Units that a token may become at once, unless it is not made longer. */
const MAX_TOKEN = 65_536;

/** `Replace`: text for text, or matches of a regular expression for text; up to `limit` units. */
export function replaceRule(config: Component): (token: string, limit?: number) => string {
  const pattern = readPattern(config.pattern, FILE);
  const content = textOf(config, 'content', 'decoder', FILE);
  return (token, limit = Math.max(token.length, MAX_TOKEN)) =>
    runAtOnce(replace(token, pattern, content, () => decodedTooLong(limit), limit));
}

/** Metaspace: the replacement character is a space, and nothing at all in the first token. */
export function metaspaceRule(config: Component): (token: string, first: boolean) => string {
  const wanted = config.replacement;
  const replacement = typeof wanted === 'string' && wanted !== '' ? wanted : '\u2581';
  const scheme = config.prepend_scheme ?? (config.add_prefix_space === false ? 'never' : 'always');
  return (token, first) => token.replaceAll(replacement, first && scheme !== 'never' ? '' : ' ');
}

/** What a `Strip` decoder takes away: up to `start` and `stop` characters at the ends. */
export function stripRule(config: Component): {
  content: string;
  start: number;
  stop: number;
} {
  const count = (value: unknown) => (Number.isInteger(value) ? Math.max(0, value as number) : 0);
  return {
    content: typeof config.content === 'string' ? config.content : ' ',
    start: count(config.start),
    stop: count(config.stop),
  };
}

function strip(token: string, rule: ReturnType<typeof stripRule>): string {
  let start = 0;
  while (start < rule.start && token[start] === rule.content) start++;
  let end = token.length;
  while (token.length - end < rule.stop && end > start && token[end - 1] === rule.content) end--;
  return token.slice(start, end);
}

/** WordPiece: what does not begin with the prefix is a word of its own. */
function wordPiece(config: Component): DecoderStep {
  const prefix = typeof config.prefix === 'string' ? config.prefix : '##';
  const clean = config.cleanup !== false ? cleanUpTokenization : (text: string) => text;
  return (tokens) =>
    tokens.map((token, i) => {
      if (i === 0) return clean(token);
      return clean(token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`);
    });
}

/** Connectionist temporal classification: tokens that repeat are one. */
function ctc(config: Component): DecoderStep {
  const setting = (name: string, fallback: string) =>
    typeof config[name] === 'string' ? (config[name] as string) : fallback;
  const pad = setting('pad_token', '<pad>');
  const delimiter = setting('word_delimiter_token', '|');
  return (tokens) =>
    tokens
      .filter((token, i) => token !== tokens[i - 1] && token !== pad)
      .map((token) =>
        config.cleanup === false || delimiter === ''
          ? token
          : cleanUpTokenization(token).replaceAll(delimiter, ' '),
      );
}

function byteLevel(tokens: string[]): string[] {
  const decoder = new ByteLevelDecoder();
  const parts = tokens.map((token) => decoder.push(token));
  return [parts.join('') + decoder.finish()];
}

/** The step of one decoder of a tokenizer.json, or null for one that is not known. */
export function decoderStep(config: Component): DecoderStep | null {
  switch (config.type) {
    case 'Fuse':
      return (tokens) => [tokens.join('')];
    case 'ByteFallback':
      return byteFallback;
    case 'ByteLevel':
      return byteLevel;
    case 'Strip': {
      const rule = stripRule(config);
      return (tokens) => tokens.map((token) => strip(token, rule));
    }
    case 'Metaspace': {
      const rule = metaspaceRule(config);
      return (tokens) => tokens.map((token, i) => rule(token, i === 0));
    }
    case 'Replace': {
      const rule = replaceRule(config);
      return (tokens, limit) => tokens.map((token) => rule(token, limit));
    }
    case 'WordPiece':
      return wordPiece(config);
    case 'BPEDecoder': {
      const suffix = typeof config.suffix === 'string' ? config.suffix : '</w>';
      if (suffix === '') return (tokens) => tokens;
      return (tokens) =>
        tokens.map((token, i) => token.replaceAll(suffix, i === tokens.length - 1 ? '' : ' '));
    }
    case 'CTC':
      return ctc(config);
    default:
      return null;
  }
}
