/** Held against the tokenizers package: tools/make-truncation-fixtures.py. */

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { AutoTokenizer, setWarningHandler } from '../../lib/index.js';
import { keptLengths, type TruncationStrategy } from '../../lib/tokenizers/truncation.js';

type Case = [
  first: number,
  second: number | null,
  room: number,
  strategy: TruncationStrategy,
  kept: [number, number] | string,
];
const cases: Case[] = JSON.parse(readFileSync('test/fixtures/tokenizers/truncation.json', 'utf8'));

it('keeps as many tokens of each text as tokenizers does', () => {
  expect(cases.length).toBeGreaterThan(800);
  for (const [first, second, room, strategy, kept] of cases) {
    const what = `${strategy} of ${first} and ${second} in ${room}`;
    if (typeof kept === 'string') {
      expect(() => keptLengths(first, second, room, strategy), what).toThrow(kept);
    } else {
      expect(keptLengths(first, second, room, strategy), what).toEqual(kept);
    }
  }
});

it('max_length alone truncates, and says so once', async () => {
  const tokenizer = await AutoTokenizer.from_pretrained('models/komt-tiny');
  const warnings: string[] = [];
  setWarningHandler((message) => warnings.push(message));
  try {
    const whole = tokenizer('하나 둘 셋 넷').input_ids;
    expect(tokenizer('하나 둘 셋 넷', { max_length: 4 }).input_ids).toEqual(whole.slice(0, 4));
    expect(warnings).toEqual([
      expect.stringContaining('Truncation was not explicitly activated but `max_length`'),
    ]);
    expect(tokenizer('하나 둘 셋 넷', { max_length: 4, truncation: false }).input_ids).toEqual(
      whole,
    );
    // With padding, max_length is what is padded to.
    expect(tokenizer('하나 둘 셋 넷', { max_length: 4, padding: 'max_length' }).input_ids).toEqual(
      whole,
    );
  } finally {
    setWarningHandler(null);
  }
});

it('cuts the longer text of a pair, or the one that is named', async () => {
  const tokenizer = await AutoTokenizer.from_pretrained('models/komt-tiny');
  const pair = { text_pair: '둘', add_special_tokens: false, max_length: 8 } as const;
  const [long, short] = ['하나 둘 셋 넷 다섯 여섯', '둘'].map(
    (text) => tokenizer(text, { add_special_tokens: false }).input_ids,
  ) as [number[], number[]];
  expect(tokenizer('하나 둘 셋 넷 다섯 여섯', { ...pair, truncation: true }).input_ids).toEqual([
    ...long.slice(0, 8 - short.length),
    ...short,
  ]);
  expect(() =>
    tokenizer('하나 둘 셋 넷 다섯 여섯', { ...pair, truncation: 'only_second' }),
  ).toThrow(/too short to respect the provided max_length/);
});

it('pads to a multiple, of the longest row or of max_length', async () => {
  const tokenizer = await AutoTokenizer.from_pretrained('models/komt-tiny');
  const lengths = (options: object) =>
    (tokenizer(['하나 둘 셋', '넷'], options).input_ids as number[][]).map((row) => row.length);
  const [longest] = lengths({}) as [number];
  const padded = Math.ceil(longest / 8) * 8;
  expect(lengths({ padding: true, pad_to_multiple_of: 8 })).toEqual([padded, padded]);
  const options = { padding: 'max_length', max_length: 30, truncation: true };
  expect(lengths({ ...options, pad_to_multiple_of: 16 })).toEqual([32, 32]);
  expect(lengths({ pad_to_multiple_of: 8 })[0]).toBe(longest);
  for (const wrong of [0, -8, 1.5, '8', 2 ** 31]) {
    expect(() => lengths({ padding: true, pad_to_multiple_of: wrong })).toThrow(
      /pad_to_multiple_of/,
    );
  }
});

it('a chat template is cut only where truncation is asked for', async () => {
  const tokenizer = await AutoTokenizer.from_pretrained('models/komt-tiny');
  const ids = (options: object) => {
    const chat_template = '{{ messages[0].content }}';
    const encoding = tokenizer.apply_chat_template([{ role: 'user', content: '하나 둘 셋' }], {
      chat_template,
      ...options,
    });
    return encoding.input_ids;
  };
  const whole = ids({});
  expect(ids({ max_length: 2 })).toEqual(whole);
  expect(ids({ max_length: 2, truncation: true })).toEqual(whole.slice(0, 2));
});
