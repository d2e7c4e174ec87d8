import { InvalidArgumentError, invalidArgument } from '../errors.js';
import { isListOf } from '../list-of.js';
import type { Tensor } from '../tensor.js';
import { checkIdRows } from './checks.js';
import { checkLimit, MAX_STOP_STRINGS } from './limits.js';
import { StoppingCriteria } from './stopping-criteria.js';

/** What {@link StopStringCriteria} needs of a tokenizer. */
export interface StopStringTokenizer {
  /** Every token with its id. */
  get_vocab(): ReadonlyMap<string, number> | Readonly<Record<string, number>>;
  encode(text: string, options?: { add_special_tokens?: boolean }): readonly number[];
  decode(ids: number[], options?: { skip_special_tokens?: boolean }): string;
}

/** Text put before a token to see what the token decodes to inside a sentence. */
const STATIC_PREFIX = 'abcdef';

/** GPT-2's alphabet: the printable character that stands for each byte. */
function byteAlphabet(): Map<string, number> {
  const map = new Map<string, number>();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
    map.set(String.fromCharCode(printable ? byte : next++), byte);
  }
  return map;
}

/** UTF-8 as a string with one character a byte, so that String's search works on bytes. */
function toByteString(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/**
 * The bytes each token adds to a text, as byte strings; worked out when first asked for. Tokens
 * that are bytes (`<0xEA>`, or GPT-2's alphabet) are taken as such and need not be whole
 * characters; the others are what they decode to inside a sentence.
 */
class TokenBytes {
  readonly ids: readonly number[];
  private readonly tokens: ReadonlyMap<number, string>;
  private readonly known = new Map<number, string>();
  private readonly prefixIds: readonly number[];
  private readonly alphabet: ReadonlyMap<string, number> | null;
  private readonly byteFallback: boolean;

  constructor(private readonly tokenizer: StopStringTokenizer) {
    const vocab = tokenizer.get_vocab();
    const entries = vocab instanceof Map ? [...vocab] : Object.entries(vocab);
    this.tokens = new Map(entries.map(([token, id]) => [id as number, token as string]));
    this.ids = [...this.tokens.keys()];
    this.prefixIds = tokenizer.encode(STATIC_PREFIX, { add_special_tokens: false });
    const has = new Set(entries.map(([token]) => token));
    const alphabet = byteAlphabet();
    this.byteFallback = has.has('<0x00>') && has.has('<0xFF>');
    this.alphabet =
      !this.byteFallback && [...alphabet.keys()].every((char) => has.has(char)) ? alphabet : null;
  }

  /** A token's bytes; for an id that is no token, a character no byte string holds. */
  of(id: number): string {
    let bytes = this.known.get(id);
    if (bytes === undefined) {
      const token = this.tokens.get(id);
      bytes = token === undefined ? '\uffff' : (this.asBytes(token) ?? this.decoded(id));
      this.known.set(id, bytes);
    }
    return bytes;
  }

  private asBytes(token: string): string | null {
    if (this.byteFallback) {
      const match = /^<0x([0-9a-fA-F]{2})>$/.exec(token);
      return match ? String.fromCharCode(Number.parseInt(match[1] as string, 16)) : null;
    }
    if (this.alphabet === null) return null;
    const bytes = Array.from(token, (char) => this.alphabet?.get(char));
    return bytes.includes(undefined) ? null : String.fromCharCode(...(bytes as number[]));
  }

  private decoded(id: number): string {
    const text = this.tokenizer.decode([...this.prefixIds, id], { skip_special_tokens: false });
    return toByteString(text.slice(text.indexOf(STATIC_PREFIX) + STATIC_PREFIX.length));
  }
}

const tables = new WeakMap<StopStringTokenizer, TokenBytes>();

function tableOf(tokenizer: StopStringTokenizer): TokenBytes {
  let table = tables.get(tokenizer);
  if (table === undefined) {
    table = new TokenBytes(tokenizer);
    tables.set(tokenizer, table);
  }
  return table;
}

/** Strings by their last byte: only those whose last byte stands somewhere are looked for there. */
class StopTable {
  readonly longest: number;
  private readonly byLast = new Map<string, string[]>();

  constructor(stops: readonly string[]) {
    let longest = 0;
    for (const stop of stops) {
      longest = Math.max(longest, stop.length);
      const last = stop.slice(-1);
      const list = this.byLast.get(last);
      if (list === undefined) this.byLast.set(last, [stop]);
      else list.push(stop);
    }
    this.longest = longest;
  }

  /** Whether a string ends in `text` at or after `start`. */
  endsIn(text: string, start: number): boolean {
    return this.some(text, start, (stop, end) => text.endsWith(stop, end));
  }

  /** Whether a text that goes on with `token` can have a string end inside `token`. */
  canEndIn(token: string): boolean {
    return this.some(token, 0, (stop, end) =>
      end < stop.length ? stop.endsWith(token.slice(0, end)) : token.endsWith(stop, end),
    );
  }

  private some(
    text: string,
    start: number,
    holds: (stop: string, end: number) => boolean,
  ): boolean {
    for (let end = start + 1; end <= text.length; end++) {
      const stops = this.byLast.get(text.charAt(end - 1));
      if (stops?.some((stop) => holds(stop, end))) return true;
    }
    return false;
  }
}

/**
 * Ends a row once its text contains one of the strings (transformers `StopStringCriteria`).
 *
 * The match is on the text's bytes, whatever the tokens: the string may begin inside a token and
 * end inside the last one ("las" + "topper" holds "stop"). It must end in the last token; a
 * string that was complete before does not match again. Bytes of characters that span several
 * tokens, as most Hangul does in Llama-2's vocabulary, match like any other.
 */
export class StopStringCriteria extends StoppingCriteria {
  readonly stop_strings: readonly string[];
  private readonly stops: StopTable;
  private readonly table: TokenBytes;

  /**
   * @throws InvalidArgumentError for an empty string, and where no token can complete any of the
   *   strings.
   */
  constructor(tokenizer: StopStringTokenizer, stop_strings: string | readonly string[]) {
    super();
    const texts: unknown = typeof stop_strings === 'string' ? [stop_strings] : stop_strings;
    if (Array.isArray(texts)) {
      checkLimit('stop_strings', texts.length, MAX_STOP_STRINGS, 'entries');
    }
    const isText = (text: unknown): text is string => typeof text === 'string' && text !== '';
    if (!isListOf(texts, isText)) {
      throw new InvalidArgumentError(
        '`stop_strings` has to be a non-empty string or a list of them',
        { subject: 'stop_strings', found: texts },
      );
    }
    const methods = ['get_vocab', 'encode', 'decode'] as const;
    if (!methods.every((name) => typeof tokenizer?.[name] === 'function')) {
      throw invalidArgument('tokenizer', "the model's tokenizer", tokenizer);
    }
    this.stop_strings = [...texts];
    this.stops = new StopTable(this.stop_strings.map(toByteString));
    this.table = tableOf(tokenizer);
    const { table, stops } = this;
    if (!table.ids.some((id) => stops.canEndIn(table.of(id)))) {
      throw new InvalidArgumentError(
        'Stop string preprocessing was unable to identify tokens matching one or more of the ' +
          'supplied stop string(s). This is most often caused by the stop strings containing ' +
          'unusual characters that are not in the tokenizer vocabulary.',
        { subject: 'stop_strings' },
      );
    }
  }

  _call(input_ids: number[][], _scores: readonly Tensor[] | null = null): boolean[] {
    checkIdRows(input_ids);
    return input_ids.map((ids) => {
      const last = this.table.of(ids.at(-1) as number);
      let before = '';
      for (let i = ids.length - 2; i >= 0 && before.length < this.stops.longest - 1; i--) {
        before = this.table.of(ids[i] as number) + before;
      }
      return this.stops.endsIn(before + last, before.length);
    });
  }
}
