import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { mutateJson } from '../json.js';
import { damage, type Random } from '../random.js';
import type { FuzzTarget } from '../target.js';
import { smallTokenizer, useTokenizer } from '../tokenizer.js';

/** The files in one document: name to content. */
const seed = (files: Record<string, unknown>) => Buffer.from(JSON.stringify(files));
const token = (content: string) => ({ content, lstrip: false, rstrip: false, special: true });

/** The document with one of its tokens exchanged for something else. */
function exchangeToken(json: string, random: Random): string {
  const parts = json.split(/\{"content".*?\}/);
  const tokens = json.match(/\{"content".*?\}/g) ?? [];
  const at = random.below(tokens.length);
  const other = random.pick([
    'null',
    '5',
    '""',
    '[]',
    '{}',
    'true',
    '"<s>"',
    '"x"',
    '{"content":1}',
  ]);
  return parts.map((part, i) => part + (i === at ? other : (tokens[i] ?? ''))).join('');
}

export const target: FuzzTarget = {
  name: 'special-tokens',
  sources: ['lib/tokenizers/special-tokens.ts', 'lib/tokenizers/settings.ts'],
  minimumCoverage: 95,
  seeds: () => [
    seed({
      'special_tokens_map.json': {
        bos_token: token('<s>'),
        eos_token: '</s>',
        unk_token: '<unk>',
        pad_token: '[PAD]',
        additional_special_tokens: ['<a>', token('<b>')],
      },
      'added_tokens.json': { '[PAD]': 300, '<a>': 301 },
      'tokenizer_config.json': {
        tokenizer_class: 'LlamaTokenizer',
        model_max_length: 2048,
        padding_side: 'left',
        add_bos_token: true,
        add_eos_token: false,
        legacy: null,
        clean_up_tokenization_spaces: false,
      },
    }),
    seed({
      'tokenizer_config.json': {
        added_tokens_decoder: { 0: token('<unk>'), 1: token('<s>'), 300: token('[PAD]') },
        extra_special_tokens: { image_token: '<img>' },
        bos_token: '<s>',
        pad_token: '[PAD]',
        chat_template: [{ name: 'default', template: 'x' }],
      },
    }),
  ],
  mutate(input, random) {
    const json = Buffer.from(input).toString();
    const mutated = random.chance(0.2) ? exchangeToken(json, random) : mutateJson(json, random);
    return mutated === undefined ? damage(input, random) : Buffer.from(mutated);
  },
  async run(input, folder) {
    let files: unknown;
    try {
      files = JSON.parse(Buffer.from(input).toString());
    } catch {
      return;
    }
    writeFileSync(path.join(folder, 'tokenizer.json'), JSON.stringify(smallTokenizer()));
    const names = ['special_tokens_map.json', 'added_tokens.json', 'tokenizer_config.json'];
    for (const name of names) {
      const content = (files as Record<string, unknown> | null)?.[name];
      if (content !== undefined) writeFileSync(path.join(folder, name), JSON.stringify(content));
    }
    await useTokenizer(folder);
  },
  planted: {
    file: 'lib/tokenizers/special-tokens.ts',
    find: 'isObject(value) ? value : {}, CONFIG',
    replace: 'value as JsonObject, CONFIG',
  },
};
