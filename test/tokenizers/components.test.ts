import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { AutoTokenizer } from '../../lib/tokenizers/index.js';
import { readNormalizer } from '../../lib/tokenizers/normalizers.js';
import { readPreTokenizer } from '../../lib/tokenizers/pre-tokenizers.js';
import { runAtOnce } from '../../lib/tokenizers/steps.js';
import { temporaryFolder } from '../temporary-folder.js';
import { at } from './fixtures.js';

/** Made by tools/make-component-fixtures.py. */
const fixtures = JSON.parse(readFileSync(at('components.json'), 'utf8')) as {
  texts: string[];
  preTokenizers: { config: { type: string }; words: string[][] }[];
  normalizers: { config: { type: string }; texts: string[] }[];
  added: { json: unknown; cases: { text: string; ids: number[] }[] };
};

describe('parts of a tokenizer.json do what the tokenizers package does', () => {
  it.each(fixtures.preTokenizers.map((x) => [JSON.stringify(x.config).slice(0, 100), x] as const))(
    'pre-tokenizer %s',
    (_, { config, words }) => {
      const preTokenizer = readPreTokenizer(config, 'tokenizer.json');
      words.forEach((expected, i) => {
        const text = fixtures.texts[i] as string;
        if (text === '' || preTokenizer === null) return;
        const got = runAtOnce(preTokenizer.split(text, true));
        expect(got, JSON.stringify(text)).toEqual(expected);
      });
    },
  );

  it.each(fixtures.normalizers.map((x) => [JSON.stringify(x.config).slice(0, 100), x] as const))(
    'normalizer %s',
    (_, { config, texts }) => {
      const normalizer = readNormalizer(config, 'tokenizer.json');
      texts.forEach((expected, i) => {
        const text = fixtures.texts[i] as string;
        const got = normalizer === null ? text : runAtOnce(normalizer.normalize(text));
        expect(got, JSON.stringify(text)).toBe(expected);
      });
    },
  );

  it('added tokens: the longest, words of their own, white space on either side', async () => {
    const folder = temporaryFolder();
    folder.write('tokenizer.json', JSON.stringify(fixtures.added.json));
    const tokenizer = await AutoTokenizer.from_pretrained(folder.path);
    for (const { text, ids } of fixtures.added.cases) {
      expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids);
    }
  });
});
