import type { DecoderConfig } from './decoder.js';
import { byteOfToken } from './token-decoders.js';
import { REPLACEMENT } from './utf8.js';

/** One decoder of a sequence: a list of strings to a list of strings, as in Rust's `decode_chain`. */
export type DecoderStep = (tokens: string[]) => string[];

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

/** Literal `Replace`; null for a regular expression, which is left to the engine. */
export function replaceRule(config: Record<string, unknown>): ((token: string) => string) | null {
  const pattern = (config.pattern as { String?: unknown } | undefined)?.String;
  const { content } = config;
  if (typeof pattern !== 'string' || pattern === '' || typeof content !== 'string') return null;
  return (token) => token.replaceAll(pattern, content);
}

/** Metaspace: the replacement character is a space, and nothing at all in the first token. */
export function metaspaceRule(
  config: Record<string, unknown>,
): (token: string, first: boolean) => string {
  const replacement = typeof config.replacement === 'string' ? config.replacement : '\u2581';
  const scheme = config.prepend_scheme ?? (config.add_prefix_space === false ? 'never' : 'always');
  return (token, first) => token.replaceAll(replacement, first && scheme !== 'never' ? '' : ' ');
}

/** What a `Strip` decoder takes away: up to `start` and `stop` characters at the ends. */
export function stripRule(config: Record<string, unknown>): {
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

/** The step of one decoder of a tokenizer.json, or null for one that is left to the engine. */
export function decoderStep(config: NonNullable<DecoderConfig>): DecoderStep | null {
  switch (config.type) {
    case 'Fuse':
      return (tokens) => [tokens.join('')];
    case 'ByteFallback':
      return byteFallback;
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
      return rule === null ? null : (tokens) => tokens.map(rule);
    }
    default:
      return null;
  }
}
