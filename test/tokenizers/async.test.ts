import { describe, expect, it } from 'vitest';
import { AbortError } from '../../lib/errors.js';
import type { Tensor } from '../../lib/tensor.js';
import { AutoTokenizer } from '../../lib/tokenizers/index.js';
import { costOf } from '../cost.js';
import { Random } from '../fuzz/random.js';
import { at } from './fixtures.js';

const NAMES = [
  'llama-legacy',
  'metaspace-split',
  'byte-level',
  'unigram-json',
  'spm-bpe-mapped',
  'spm-unigram',
];
const WORDS = [
  ...['안녕하세요', '자동차', '종합(정기)검사', '뷁뷁', 'ㅋㅋㅋㅋ', '한국어', '\u1112\u1161\u11ab'],
  ...['the', 'quick', "it's", 'Hello,', 'aaaaaaaa', '12345', 'e\u0301', 'AbstractFactory'],
  ...[' ', '  ', '\n', '\n\n\t', '<s>', '</s>', '😀😀', '㎞', '\ud83d', '---', '\u3000'],
];

/** Words and white space; now and then the same again and again. */
function textOf(random: Random, length: number): string {
  let text = '';
  while (text.length < length) {
    const word = random.pick(WORDS);
    text += random.chance(0.02) ? word.repeat(random.below(2000)) : word;
    if (random.chance(0.6)) text += ' ';
  }
  return text;
}

describe.each(NAMES)('%s', (name) => {
  it('encode_async gives what encode gives, several at a time', async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(at(name));
    const random = new Random(7);
    const texts = [0, 1, 300, 5000, 40_000, 90_000].map((length) => textOf(random, length));
    const later = await Promise.all(texts.map((text) => tokenizer.encode_async(text)));
    texts.forEach((text, i) => {
      expect(later[i]).toEqual(tokenizer.encode(text));
    });
  });
});

describe('calls that do not block', () => {
  const load = () => AutoTokenizer.from_pretrained(at('llama-legacy'));

  it('have the options of the call', async () => {
    const tokenizer = await load();
    const options = { padding: true, max_length: 7, truncation: true } as const;
    tokenizer.pad_token = '<unk>';
    const texts = ['한국어', 'a'];
    expect(await tokenizer.call_async(texts, options)).toEqual(tokenizer(texts, options));
    const tensors = await tokenizer.call_async(texts, { ...options, return_tensors: 'pt' });
    const expected = tokenizer(texts, { ...options, return_tensors: 'pt' });
    const { input_ids, attention_mask } = tensors as { input_ids: Tensor; attention_mask: Tensor };
    expect(input_ids.tolist()).toEqual(expected.input_ids.tolist());
    expect(attention_mask.tolist()).toEqual(expected.attention_mask.tolist());
    await expect(tokenizer.call_async('a', { paddin: true } as object)).rejects.toThrow(/padding/);
    await expect(tokenizer.encode_async(5 as never)).rejects.toThrow(/a string/);
  });

  it('let the event loop go on', async () => {
    const tokenizer = await load();
    const random = new Random(3);
    for (const text of [textOf(random, 500_000), 'a'.repeat(500_000), '가'.repeat(300_000)]) {
      const { block, cpu } = await costOf(() => tokenizer.encode_async(text));
      // Where one slice is 4 ms, garbage collection and other processes come on top of it.
      expect(block).toBeLessThan(Math.max(120, cpu / 2));
    }
  });

  it('end with an abort', async () => {
    const tokenizer = await load();
    const controller = new AbortController();
    const call = tokenizer.encode_async('a b '.repeat(1e6), { signal: controller.signal });
    setTimeout(() => controller.abort(), 5);
    await expect(call).rejects.toBeInstanceOf(AbortError);
    await expect(
      tokenizer.encode_async('a', { signal: AbortSignal.abort() }),
    ).rejects.toBeInstanceOf(AbortError);
    await expect(
      AutoTokenizer.from_pretrained(at('llama-legacy'), { signal: AbortSignal.abort() }),
    ).rejects.toBeInstanceOf(AbortError);
  });
});
