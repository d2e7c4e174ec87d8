import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { TokenizerError } from '../../lib/errors.js';
import { AutoTokenizer } from '../../lib/tokenizers/index.js';
import { costOf } from '../cost.js';
import { smallTokenizer } from '../fuzz/tokenizer.js';
import { temporaryFolder } from '../temporary-folder.js';
import { at } from './fixtures.js';

type Json = Record<string, unknown>;
type Folder = ReturnType<typeof temporaryFolder>;
let folder: Folder;
beforeEach(() => {
  folder = temporaryFolder();
});

const FILES = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
];

/** The refusal of loading, or of encoding `text`; it must have been cheap. */
async function refusal(text = ''): Promise<TokenizerError> {
  const { error, cpu, bytes } = await costOf(async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(folder.path);
    tokenizer.decode(tokenizer.encode(text));
  });
  expect(error).toBeInstanceOf(TokenizerError);
  expect(cpu).toBeLessThan(2000);
  expect(bytes).toBeLessThan(500e6);
  return error as TokenizerError;
}

/** Writes the small tokenizer with a change; a string is its text. */
function write(change: (json: Json, model: Json & { vocab: Json }) => unknown): void {
  const json = smallTokenizer();
  const text = change(json, json.model as Json & { vocab: Json });
  folder.write('tokenizer.json', typeof text === 'string' ? text : JSON.stringify(json));
}

describe('what is no regular file is not read', () => {
  it.each(FILES)('%s', async (name) => {
    const make: [RegExp, (file: string) => unknown][] = [
      [/device/, (file) => symlinkSync('/dev/zero', file)],
      [/named pipe/, (file) => execFileSync('mkfifo', [file])],
      [/directory/, (file) => mkdirSync(file)],
      [/leads to itself/, (file) => symlinkSync(path.basename(file), file)],
    ];
    for (const [message, create] of make) {
      folder = temporaryFolder();
      if (name !== 'tokenizer.json') write(() => {});
      create(path.join(folder.path, name));
      expect((await refusal()).message).toMatch(message);
    }
  });

  it('tokenizer.model', async () => {
    symlinkSync('/dev/zero', path.join(folder.path, 'tokenizer.model'));
    expect((await refusal()).message).toMatch(/device/);
  });
});

describe('ids', () => {
  it.each([1e9, 1e15, 2 ** 53, 66_000])('%d of an added token is out of range', async (id) => {
    write((json) => (json.added_tokens as Json[]).push({ id, content: '[PAD]' }) && undefined);
    expect((await refusal()).message).toMatch(/out of range|under an id/);
    write(() => {});
    folder.write('added_tokens.json', JSON.stringify({ '[PAD]': id }));
    expect((await refusal()).message).toMatch(/out of range|under an id/);
    folder.write('tokenizer_config.json', `{"added_tokens_decoder":{"${id}":{"content":"x"}}}`);
    expect((await refusal()).message).toMatch(/out of range|under an id/);
  });

  it.each([-5, 1.5, '7', null, true])('%j is no id', async (id) => {
    write((json) => (json.added_tokens as Json[]).push({ id, content: '[PAD]' }) && undefined);
    expect((await refusal()).message).toMatch(/Malformed added token/);
  });

  it('of the vocabulary leave no more free than there are tokens and 65,536', async () => {
    write((_, { vocab }) => {
      vocab.last = 65_000;
    });
    const tokenizer = await AutoTokenizer.from_pretrained(folder.path);
    expect(tokenizer.length).toBe(65_001);
    expect(tokenizer.decode([64_000, 65_000])).toBe('last');
    write((_, { vocab }) => {
      vocab.last = 1e8;
    });
    expect((await refusal()).subject).toBe('last');
  });

  it('that two tokens share decode to one of them', async () => {
    write((_, { vocab }) => {
      vocab.zzz = vocab.a;
    });
    const tokenizer = await AutoTokenizer.from_pretrained(folder.path);
    expect(tokenizer.encode('b', { add_special_tokens: false })).toHaveLength(2);
  });
});

describe('a hostile tokenizer.json', () => {
  const growing = (part: Json, count: number) => ({
    type: 'Sequence',
    normalizers: Array.from({ length: count }, () => part),
  });
  const deep = (count: number) =>
    `${'{"type":"Sequence","normalizers":['.repeat(count)}{"type":"Lowercase"}${']}'.repeat(count)}`;

  it.each<[string, (json: Json, model: Json & { vocab: Json }) => unknown, RegExp, string?]>([
    [
      'a type that cannot be made a text',
      (_, model) => {
        model.type = { toString: 'BPE' };
      },
      /Unsupported tokenizer model/,
    ],
    [
      'text that doubles thirty times',
      (json) => {
        const part = { type: 'Replace', pattern: { String: 'a' }, content: 'aa' };
        json.normalizer = growing(part, 30);
      },
      /Replace makes the text too long/,
      'a',
    ],
    [
      'text that grows with each of many parts',
      (json) => {
        json.normalizer = growing({ type: 'Prepend', prepend: 'a'.repeat(16) }, 100_000);
      },
      /too many parts/,
    ],
    [
      'a replacement of a megabyte',
      (json) => {
        const content = 'x'.repeat(1e6);
        json.normalizer = { type: 'Replace', pattern: { Regex: '.' }, content };
      },
      /makes the text too long/,
      'abc',
    ],
    [
      'a decoder that doubles sixty times',
      (json) => {
        const part = { type: 'Replace', pattern: { String: 'a' }, content: 'aa' };
        json.decoder = { type: 'Sequence', decoders: Array.from({ length: 60 }, () => part) };
      },
      /decoder of tokenizer.json makes the text too long/,
      'a',
    ],
    ['sequences 20,000 deep', (json) => insert(json, deep(20_000)), /levels of nesting/],
    [
      'merges that are none',
      (_, model) => {
        model.merges = ['a'];
      },
      /Malformed merge/,
    ],
    [
      'merges of one',
      (_, model) => {
        model.merges = [['a']];
      },
      /Malformed merge/,
    ],
    [
      'merges of numbers',
      (_, model) => {
        model.merges = [5];
      },
      /Malformed merge/,
    ],
    [
      'merges of what the vocabulary does not have',
      (_, model) => {
        model.merges = [['x', 'y']];
      },
      /uses a token that the vocabulary does not have/,
    ],
    [
      'an empty added token',
      (json) => void (json.added_tokens as Json[]).push({ id: 300, content: '' }),
      /Malformed added token/,
    ],
    [
      'an added token of 2,000 units',
      (json) => void (json.added_tokens as Json[]).push({ id: 280, content: 'x'.repeat(2000) }),
      /added token is too long/,
    ],
    [
      'a decoder that is null inside',
      (json) => {
        json.decoder = { type: 'Sequence', decoders: [null] };
      },
      /Malformed decoder/,
    ],
    [
      'a decoder that is not known',
      (json) => {
        json.decoder = { type: 'Nope' };
      },
      /Unknown Decoder/,
    ],
    [
      'a back reference',
      (json) => {
        json.pre_tokenizer = split('(a+)\\1');
      },
      /cannot be matched in linear time/,
    ],
    [
      'a pattern that is not one',
      (json) => {
        json.pre_tokenizer = split('(((');
      },
      /Malformed regular expression/,
    ],
    [
      'repetitions of repetitions',
      (json) => {
        json.pre_tokenizer = split('((a{100}){100}){100}');
      },
      /more than 1024 steps/,
    ],
    [
      'a post-processor with an id of its own',
      (json) => {
        json.post_processor = { type: 'BertProcessing', cls: ['a', 1e9], sep: ['a', 1] };
      },
      /id that the vocabulary does not have/,
    ],
    ['nothing but objects', () => `{"x":[${'{},'.repeat(1e6)}{}]}`, /more objects or lists than/],
    ['nothing but arrays', () => `{"x":[${'[],'.repeat(4.1e6)}[]]}`, /more objects or lists than/],
  ])('%s', async (_, change, message, text) => {
    write(change);
    expect((await refusal(text)).message).toMatch(message);
  });

  const split = (Regex: string) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated' });
  const insert = (json: Json, normalizer: string) =>
    JSON.stringify({ ...json, normalizer: 'HERE' }).replace('"HERE"', () => normalizer);

  it.each(['(a+)+$', '(a|a)*$', '(a|aa)+b', '(.*)*x', '(?=(a+)+b)a'])(
    'regular expression %s takes linear time',
    async (Regex) => {
      const text = 'a'.repeat(20_000);
      for (const part of ['pre_tokenizer', 'normalizer', 'decoder']) {
        write((json) => {
          const replace = { type: 'Replace', pattern: { Regex }, content: 'x' };
          json[part] = part === 'pre_tokenizer' ? split(Regex) : replace;
        });
        const tokenizer = await AutoTokenizer.from_pretrained(folder.path);
        const { error, cpu } = await costOf(async () => tokenizer.decode(tokenizer.encode(text)));
        // A look-ahead that succeeds from everywhere is ended by the budget.
        if (error !== undefined) expect(error).toBeInstanceOf(TokenizerError);
        expect(cpu).toBeLessThan(2000);
      }
    },
  );

  it('names of JavaScript are tokens like others', async () => {
    write((_, model) => {
      const { vocab } = model;
      const names = ['__proto__', 'constructor', 'toString'];
      const text = JSON.stringify({ ...vocab, HERE: 1 });
      return JSON.stringify({ ...smallTokenizer(), model: { ...model, vocab: 'HERE' } }).replace(
        '"HERE"',
        () => text.replace('"HERE":1', names.map((name, i) => `"${name}":${300 + i}`).join()),
      );
    });
    const tokenizer = await AutoTokenizer.from_pretrained(folder.path);
    expect(tokenizer.convert_tokens_to_ids(['__proto__', 'constructor', 'valueOf'])).toEqual([
      300,
      301,
      null,
    ]);
    expect(Object.keys(tokenizer.get_vocab())).toContain('__proto__');
  });
});

describe('wrong types in settings are TokenizerErrors', () => {
  it.each<[string, Json]>([
    ['special_tokens_map.json', { bos_token: 5 }],
    ['special_tokens_map.json', { eos_token: { content: null } }],
    ['special_tokens_map.json', { additional_special_tokens: 'x' }],
    ['special_tokens_map.json', { additional_special_tokens: [1] }],
    ['added_tokens.json', { x: 'y' }],
    ['added_tokens.json', { x: null }],
    ['tokenizer_config.json', { added_tokens_decoder: [1] }],
    ['tokenizer_config.json', { added_tokens_decoder: { 1: null } }],
    ['tokenizer_config.json', { added_tokens_decoder: { x: { content: 'a' } } }],
    ['tokenizer_config.json', { unk_token: true }],
    ['tokenizer_config.json', { extra_special_tokens: 7 }],
    ['tokenizer_config.json', { padding_side: 'up' }],
    ['tokenizer_config.json', { model_max_length: '512' }],
    ['tokenizer_config.json', { tokenizer_class: {} }],
    ['tokenizer_config.json', { add_bos_token: 'yes' }],
    ['tokenizer_config.json', { chat_template: 5 }],
    ['tokenizer_config.json', { chat_template: [{ name: 'x' }] }],
  ])('%s: %j', async (name, content) => {
    write(() => {});
    folder.write(name, JSON.stringify(content));
    await refusal();
  });
});

describe('long words', () => {
  it.each([
    'llama-legacy',
    'llama-metaspace',
    'byte-level',
    'unigram-json',
    'spm-bpe',
    'spm-unigram',
  ])(
    'a megabyte of one letter, %s',
    async (name) => {
      const tokenizer = await AutoTokenizer.from_pretrained(at(name));
      for (const letter of ['a', '가']) {
        const { cpu, error } = await costOf(async () => tokenizer.encode(letter.repeat(1e6)));
        expect(error).toBeUndefined();
        expect(cpu).toBeLessThan(8000);
      }
    },
    60_000,
  );
});
