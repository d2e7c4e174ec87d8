import { describe, expect, it } from 'vitest';
import { readPattern } from '../../lib/tokenizers/regex/pattern.js';
import { compileRegex } from '../../lib/tokenizers/regex/program.js';
import { PUBLISHED } from '../../lib/tokenizers/regex/published.js';
import { PAUSED, Search } from '../../lib/tokenizers/regex/search.js';
import { Random } from '../fuzz/random.js';

type Ranges = (readonly [number, number])[];

/** All matches, as `matchAll` walks through them. */
function all(
  text: string,
  matches: { next(from: number): readonly [number, number] | null | typeof PAUSED },
): Ranges {
  const found: Ranges = [];
  for (let from = 0; from <= text.length; ) {
    const match = matches.next(from);
    if (match === PAUSED) continue;
    if (match === null) break;
    found.push(match);
    from = match[1] > match[0] ? match[1] : match[1] + 1;
  }
  return found;
}

/** A pattern whose repetitions are of something: of nothing, JavaScript and Oniguruma differ. */
function pattern(random: Random, depth: number): string {
  if (depth === 0) return random.pick(['a', 'b', '[ab]', '[^b]', '\\p{L}']);
  const inner = () => pattern(random, depth - 1);
  const item = () => random.pick(['a', 'b', '[^b]', `(?:${inner()}|${random.pick(['a', 'bc'])})`]);
  const repeated = () => {
    const of = item();
    // Alternatives may be empty; what is repeated may not.
    return new RegExp(`^(?:${of})$`, 'u').test('') || /\?[=!<]|[*?]|\{0/.test(of)
      ? of
      : of + random.pick(['*', '+', '?', '*?', '+?', '??', '{1,2}', '{2}', '{1,}']);
  };
  return random.pick([
    () => inner() + inner(),
    () => `(?:${inner()}|${inner()})`,
    repeated,
    repeated,
    () => `${inner()}(?=${inner()})`,
    () => `${inner()}(?!${inner()})`,
    () => `(?<=${inner()})${inner()}`,
    () => `(?<!${inner()})${inner()}`,
  ])();
}

describe('the matcher that takes linear time', () => {
  it('finds what JavaScript finds', () => {
    const random = new Random(11);
    for (let i = 0; i < 4000; i++) {
      const source = pattern(random, 3);
      const program = compileRegex(source);
      for (let j = 0; j < 3; j++) {
        const text = Array.from({ length: random.below(14) }, () =>
          random.pick(['a', 'b', 'c']),
        ).join('');
        const expected = [...text.matchAll(new RegExp(source, 'gu'))].map((match) => [
          match.index,
          match.index + match[0].length,
        ]);
        expect(all(text, new Search(program, text)), `${source} ${text}`).toEqual(expected);
      }
    }
  });

  it('takes characters of two units as one, forwards and backwards', () => {
    const text = 'a😀b😀😀';
    const find = (source: string) => all(text, new Search(compileRegex(source), text));
    expect(find('[^a]')).toEqual([
      [1, 3],
      [3, 4],
      [4, 6],
      [6, 8],
    ]);
    expect(find('(?<=😀)[^a]')).toEqual([
      [3, 4],
      [6, 8],
    ]);
    expect(find('(?<![^a])[^b]')).toEqual([
      [0, 1],
      [1, 3],
    ]);
  });
});

describe('published patterns', () => {
  it.each([...PUBLISHED].map((source) => [source.slice(0, 60), source] as const))(
    '%s: the window does not show',
    (_, Regex) => {
      const published = readPattern({ Regex }, 'tokenizer.json');
      // The same, and no longer known.
      const careful = readPattern({ Regex: `(?:${Regex})` }, 'tokenizer.json');
      const words = ["it's 123 ", '안녕하세요 ', '\n\n  ', '!!! ', 'HTTPServer ', '😀'];
      const runs = ['a', '가', ' ', '\n', 'A', '1', '=', '😀', ' \n'].map((x) => x.repeat(20_000));
      for (const text of [words.join('').repeat(800), ...runs, runs.join('x')]) {
        expect(all(text, published.search(text))).toEqual(all(text, careful.search(text)));
      }
    },
    60_000,
  );
});
