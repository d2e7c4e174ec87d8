/** A regular expression as a tree. */
export type Node =
  | { kind: 'empty' }
  /** One character of a set; `source` is a class, an escape or a character in the syntax of JavaScript. */
  | { kind: 'set'; source: string }
  | { kind: 'sequence'; items: Node[] }
  | { kind: 'choice'; items: Node[] }
  | { kind: 'repeat'; item: Node; min: number; max: number; lazy: boolean }
  | { kind: 'look'; item: Node; behind: boolean; negative: boolean };

/** What a pattern has that this engine does not. */
export class UnsupportedPattern extends Error {}

/** Groups inside each other. */
const MAX_DEPTH = 100;
const GROUP = /\((?:\?(?:(<?[=!])|:|<[^=!>][^>]*>))?/y;
const QUANTIFIER = /(?:([*+?])|\{(\d+)(,(\d*))?\})(\??)/y;
const ESCAPE =
  /\\(?:[pP]\{[^}]*\}|u\{[0-9A-Fa-f]+\}|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|c[A-Za-z]|[^1-9kbB])/uy;
const CLASS = /\[(?:\\.|[^\]\\])*\]/suy;

/**
 * Reads the source of a RegExp with the flag `u`, which is known to be well formed.
 *
 * @throws UnsupportedPattern for back references and for groups too deep inside each other.
 */
export function parseRegex(source: string): Node {
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(source);
    if (match !== null) at += match[0].length;
    return match;
  };

  function choice(depth: number): Node {
    if (depth > MAX_DEPTH)
      throw new UnsupportedPattern(`more than ${MAX_DEPTH} groups inside each other`);
    const items = [sequence(depth)];
    while (source[at] === '|') {
      at++;
      items.push(sequence(depth));
    }
    return items.length === 1 ? (items[0] as Node) : { kind: 'choice', items };
  }

  function sequence(depth: number): Node {
    const items: Node[] = [];
    while (at < source.length && source[at] !== '|' && source[at] !== ')') {
      items.push(quantified(atom(depth)));
    }
    return items.length === 1 ? (items[0] as Node) : { kind: 'sequence', items };
  }

  function quantified(item: Node): Node {
    const match = take(QUANTIFIER);
    if (match === null) return item;
    const [, sign, low, comma, high, lazy] = match;
    let min = sign === '+' ? 1 : 0;
    let max = sign === '?' ? 1 : Number.POSITIVE_INFINITY;
    if (low !== undefined) {
      min = Number(low);
      if (comma === undefined) max = min;
      else if (high !== undefined && high !== '') max = Number(high);
    }
    return { kind: 'repeat', item, min, max, lazy: lazy === '?' };
  }

  function atom(depth: number): Node {
    const char = source[at];
    if (char === '(') {
      const group = take(GROUP);
      const look = group?.[1];
      const item = choice(depth + 1);
      at++; // the closing parenthesis
      if (look === undefined) return item;
      return { kind: 'look', item, behind: look[0] === '<', negative: look.endsWith('!') };
    }
    if (char === '[') {
      return { kind: 'set', source: (take(CLASS) as RegExpExecArray)[0] };
    }
    if (char === '\\') {
      const escaped = take(ESCAPE);
      if (escaped === null) {
        throw new UnsupportedPattern(`\\${source[at + 1]}`);
      }
      return { kind: 'set', source: escaped[0] };
    }
    if (char === '^' || char === '$') throw new UnsupportedPattern(char);
    const text = String.fromCodePoint(source.codePointAt(at) as number);
    at += text.length;
    return { kind: 'set', source: text };
  }

  return choice(0);
}
