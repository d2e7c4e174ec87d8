import type { Random } from './random.js';

/** Values that parsers of JSON files tend to forget. */
const HOSTILE: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  -0,
  2 ** 31,
  -(2 ** 31),
  2 ** 32,
  2 ** 53,
  1e9,
  1e15,
  1e308,
  '',
  '0',
  '1',
  'NaN',
  '__proto__',
  'constructor',
  'toString',
  '../../etc/passwd',
  '/dev/zero',
  '\u0000',
  '\ud800',
  '한국어',
  'a'.repeat(300),
  [],
  [[]],
  [null],
  [1, 2, 3],
  {},
  { constructor: 1 },
  { type: 'x' },
];
const KEYS = ['__proto__', 'constructor', 'toString', 'type', 'id', 'x', '', 'length'];

type Place = { holder: Record<string, unknown> | unknown[]; key: string | number };

function places(value: unknown, out: Place[]): void {
  if (typeof value !== 'object' || value === null) return;
  const holder = value as Record<string, unknown>;
  for (const key of Object.keys(holder)) {
    out.push({ holder, key });
    places(holder[key], out);
  }
}

function set({ holder, key }: Place, value: unknown): void {
  Object.defineProperty(holder, key, {
    value,
    configurable: true,
    enumerable: true,
    writable: true,
  });
}

/**
 * A JSON document with one to four values replaced, removed, doubled, renamed, swapped or nested.
 * Returns undefined where `text` is no JSON document with something inside.
 */
export function mutateJson(text: string, random: Random): string | undefined {
  let root: { root: unknown };
  try {
    root = { root: JSON.parse(text) };
  } catch {
    return undefined;
  }
  for (let i = random.below(4); i >= 0; i--) {
    const all: Place[] = [];
    places(root, all);
    const place = random.pick(all);
    const { holder, key } = place;
    const value = (holder as Record<string, unknown>)[key as string];
    switch (random.below(9)) {
      case 0:
        if (holder !== root) {
          if (Array.isArray(holder)) holder.splice(Number(key), 1);
          else delete holder[key as string];
        }
        break;
      case 1: {
        const other = random.pick(all);
        set(place, structuredClone((other.holder as Record<string, unknown>)[other.key as string]));
        break;
      }
      case 2:
        if (Array.isArray(holder)) holder.push(structuredClone(value));
        else set({ holder, key: random.pick(KEYS) }, structuredClone(value));
        break;
      case 3:
        set(place, random.chance(0.5) ? [value] : { [random.pick(KEYS)]: value });
        break;
      case 4: {
        let nested: unknown = value;
        for (let depth = random.below(200); depth > 0; depth--) nested = [nested];
        set(place, nested);
        break;
      }
      case 5:
        if (typeof value === 'number') {
          set(
            place,
            random.pick([value + 1, value - 1, -value, value * 2, value / 2, value * 1e6]),
          );
        } else if (typeof value === 'string') {
          set(
            place,
            value.slice(0, random.below(value.length + 1)) + random.pick(['', '\u0000', 'x']),
          );
        } else set(place, structuredClone(random.pick(HOSTILE)));
        break;
      default:
        set(place, structuredClone(random.pick(HOSTILE)));
    }
  }
  return JSON.stringify(root.root) ?? 'null';
}
