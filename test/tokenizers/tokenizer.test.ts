import { writeFileSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { FileNotFoundError, InvalidArgumentError, TokenizerError } from '../../lib/errors.js';
import { Tensor } from '../../lib/tensor.js';
import { compileDecoder, type DecoderConfig } from '../../lib/tokenizers/decoder.js';
import { AutoTokenizer, type PreTrainedTokenizer } from '../../lib/tokenizers/index.js';
import { resetWarnings, setWarningHandler } from '../../lib/warnings.js';
import { temporaryFolder } from '../temporary-folder.js';
import { answersOf, at, expected, KOMT_TINY } from './fixtures.js';

const JSON_TOKENIZERS = [
  'llama-legacy',
  'llama-metaspace',
  'metaspace-split',
  'byte-level',
  'unigram-json',
];

describe('ids and texts of the tokenizers package', () => {
  it.each(JSON_TOKENIZERS)('%s encodes 200 texts', async (name) => {
    const tokenizer = await AutoTokenizer.from_pretrained(at(name));
    expected.texts.forEach((text, i) => {
      expect(tokenizer.encode(text, { add_special_tokens: false }), JSON.stringify(text)).toEqual(
        answersOf(name).encode[i],
      );
    });
  });

  it.each(JSON_TOKENIZERS)('%s decodes ids of every kind', async (name) => {
    const tokenizer = await AutoTokenizer.from_pretrained(at(name));
    const cases = answersOf(name).decode;
    expect(cases.length).toBe(60);
    for (const { ids, text, skipped } of cases) {
      expect(tokenizer.decode(ids), `${ids}`).toBe(text);
      expect(tokenizer.decode(ids, { skip_special_tokens: true }), `${ids}`).toBe(skipped);
    }
  });

  it('cleans up spaces where transformers does', async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(at('unigram-json'));
    for (const { ids, text } of expected.cleaned) expect(tokenizer.decode(ids)).toBe(text);
    const bpe = await AutoTokenizer.from_pretrained(at('byte-level'));
    expect(bpe.decode(bpe.encode('a .'), { skip_special_tokens: true })).toBe('a .');
  });

  it('drops every replacement character of the first token in a Metaspace decoder', () => {
    const json = expected.metaspace.json as {
      decoder: DecoderConfig;
      model: { vocab: Record<string, number> };
    };
    const tokens = Object.keys(json.model.vocab);
    const factory = compileDecoder(json.decoder);
    for (const { ids, text } of expected.metaspace.decode) {
      const decoder = factory(false);
      const parts = ids.flatMap((id) =>
        tokens[id] === undefined ? [] : [decoder.push(tokens[id])],
      );
      expect(parts.join('') + decoder.finish(), `${ids}`).toBe(text);
    }
  });

  it('pads and truncates as transformers does', async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(at('byte-level'));
    tokenizer.pad_token = tokenizer.eos_token;
    expect(expected.calls.length).toBe(14);
    for (const { text, options, input_ids, attention_mask } of expected.calls) {
      const out = tokenizer(text, options);
      expect({ ...out }, JSON.stringify(options)).toEqual({ input_ids, attention_mask });
    }
  });

  it('renders chats as transformers does, and encodes them without a second bos', async () => {
    // One of the chats is longer than this tokenizer's model_max_length.
    onTestFinished(() => void setWarningHandler(null));
    setWarningHandler(() => {});
    expect(expected.chats.length).toBe(18);
    for (const { tokenizer: name, messages, options, text, ids } of expected.chats) {
      const tokenizer = await AutoTokenizer.from_pretrained(at(name));
      expect(tokenizer.apply_chat_template(messages, { ...options, tokenize: false })).toBe(text);
      if (ids === undefined) continue;
      expect(tokenizer.apply_chat_template(messages, options).input_ids).toEqual(ids);
      expect(tokenizer.apply_chat_template(messages, { ...options, return_dict: false })).toEqual(
        ids,
      );
    }
  });
});

describe('a bare tokenizer.model', () => {
  it('gives the ids of its tokenizer.json in the 2023 layout', async () => {
    const bare = await AutoTokenizer.from_pretrained(at('spm-bpe'));
    const answers = answersOf('llama-legacy');
    expected.texts.forEach((text, i) => {
      expect(bare.encode(text, { add_special_tokens: false }), JSON.stringify(text)).toEqual(
        answers.encode[i],
      );
      expect(bare.encode(text)[0]).toBe(1);
    });
    for (const { ids, text, skipped } of answers.decode) {
      expect(bare.decode(ids)).toBe(text);
      expect(bare.decode(ids, { skip_special_tokens: true })).toBe(skipped);
    }
  });

  it('puts the prefix space before the first stretch only, with legacy: false', async () => {
    const legacy = await AutoTokenizer.from_pretrained(at('spm-bpe'));
    const modern = await AutoTokenizer.from_pretrained(at('spm-bpe'), { legacy: false });
    const plain = { add_special_tokens: false };
    expect(modern.tokenize('a a')).toEqual(legacy.tokenize('a a'));
    expect(modern.tokenize('  a')).toEqual(legacy.tokenize('  a'));
    expect(legacy.decode(legacy.encode('a</s>a', plain))).toBe('a</s> a');
    expect(modern.decode(modern.encode('a</s>a', plain))).toBe('a</s>a');
    expect(modern.decode(modern.encode('</s>a', plain))).toBe('</s>a');
  });

  async function modelWith(files: Record<string, unknown>): Promise<string> {
    const { path: folder } = temporaryFolder();
    await copyFile(
      path.join(at('spm-bpe'), 'tokenizer.model'),
      path.join(folder, 'tokenizer.model'),
    );
    for (const [name, value] of Object.entries(files)) {
      writeFileSync(
        path.join(folder, name),
        typeof value === 'string' ? value : JSON.stringify(value),
      );
    }
    return folder;
  }

  it('bos, eos and unk may all be </s>, pad <unk>', async () => {
    const folder = await modelWith({
      'special_tokens_map.json': {
        bos_token: { content: '</s>', lstrip: false, rstrip: false, single_word: false },
        eos_token: '</s>',
        unk_token: '</s>',
        pad_token: '<unk>',
      },
      'tokenizer_config.json': { bos_token: '<s>', tokenizer_class: 'LlamaTokenizer' },
    });
    const tokenizer = await AutoTokenizer.from_pretrained(folder);
    expect([tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id]).toEqual([
      2, 2, 2,
    ]);
    expect(tokenizer.pad_token_id).toBe(0);
    expect(tokenizer.encode('a')[0]).toBe(2);
    expect(tokenizer.decode(tokenizer.encode('a'), { skip_special_tokens: true })).toBe('a');
    expect(tokenizer.all_special_ids).toEqual([2, 0]);
  });

  it('added_tokens.json adds [PAD] behind the pieces', async () => {
    const folder = await modelWith({
      'added_tokens.json': { '[PAD]': 700, '<new>': 701 },
      'special_tokens_map.json': { pad_token: '[PAD]', bos_token: '</s>' },
    });
    const tokenizer = await AutoTokenizer.from_pretrained(folder);
    expect(tokenizer.pad_token_id).toBe(700);
    expect(tokenizer.vocab_size).toBe(700);
    expect(tokenizer.length).toBe(702);
    const ids = tokenizer.encode('a[PAD]<new>', { add_special_tokens: false });
    expect(ids.slice(-2)).toEqual([700, 701]);
    expect(tokenizer.decode(ids, { skip_special_tokens: true })).toBe('a<new>');
    const batch = tokenizer(['a', 'a a a a'], { padding: true, return_tensors: 'pt' });
    expect((batch.input_ids.tolist() as number[][])[0]?.[0]).toBe(700);
  });

  it('add_bos_token, add_eos_token and add_prefix_space are honoured', async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(
      await modelWith({
        'tokenizer_config.json': {
          add_bos_token: false,
          add_eos_token: true,
          add_prefix_space: false,
        },
      }),
    );
    expect(tokenizer.encode('a').at(-1)).toBe(2);
    expect(tokenizer.encode('a')[0]).not.toBe(1);
    expect(tokenizer.tokenize('a')[0]).toBe('a');
    expect(tokenizer.decode(tokenizer.encode(' a'), { skip_special_tokens: true })).toBe(' a');
  });
});

describe('the call', () => {
  let tokenizer: PreTrainedTokenizer;
  let warnings: string[];
  beforeEach(async () => {
    warnings = [];
    resetWarnings();
    setWarningHandler((message) => warnings.push(message));
    tokenizer = await AutoTokenizer.from_pretrained(KOMT_TINY);
  });
  afterEach(() => {
    setWarningHandler(null);
    resetWarnings();
  });

  it('gives one row for a single text under return_tensors, and spreads', () => {
    for (const options of [{ return_tensors: 'pt' }, { return_tensor: true }] as const) {
      const out = { ...tokenizer('안녕', options).to('cuda') };
      expect(out.input_ids).toBeInstanceOf(Tensor);
      expect(out.input_ids.dims).toEqual([1, tokenizer.encode('안녕').length]);
      expect(Object.keys(out)).toEqual(['input_ids', 'attention_mask']);
    }
  });

  it('leaves out what was not asked for, and adds token types', () => {
    expect({ ...tokenizer('a', { return_attention_mask: false }) }).not.toHaveProperty(
      'attention_mask',
    );
    const pair = tokenizer('a', { text_pair: 'a', return_token_type_ids: true });
    expect(pair.token_type_ids).toEqual(
      pair.input_ids.map((_, i) => (i < pair.input_ids.length / 2 ? 0 : 1)),
    );
  });

  it('cuts on the side wanted and keeps bos', () => {
    tokenizer.truncation_side = 'left';
    const ids = tokenizer.encode('하나 둘 셋');
    const cut = tokenizer('하나 둘 셋', { truncation: true, max_length: 4 }).input_ids;
    expect(cut).toEqual([1, ...ids.slice(-3)]);
  });

  it('throws as transformers words it', async () => {
    const bare = await AutoTokenizer.from_pretrained(at('llama-metaspace'));
    expect(() => bare(['a', 'b c'], { padding: true })).toThrow(
      'Asking to pad but the tokenizer does not have a padding token. Please select a token to use as `pad_token`',
    );
    expect(() => bare(['a', 'a a a'], { return_tensors: 'pt' })).toThrow(
      'Unable to create tensor, you should probably activate truncation and/or padding',
    );
    expect(() => bare.apply_chat_template([{ role: 'user', content: 'a' }])).toThrow(
      'Cannot use chat template functions because tokenizer.chat_template is not set and no template argument was passed!',
    );
    expect(() => tokenizer.apply_chat_template([])).toThrow(
      'Cannot apply chat template to an empty conversation. Provide at least one message.',
    );
    expect(() =>
      tokenizer.apply_chat_template([{ role: 'user', content: 'a' }], {
        continue_final_message: true,
        add_generation_prompt: true,
      }),
    ).toThrow('continue_final_message and add_generation_prompt are not compatible');
    expect(() => bare('a', { return_tensors: 'tf' as 'pt' })).toThrow(InvalidArgumentError);
    expect(() => bare(7 as unknown as string)).toThrow(
      /Expected a string or a list of strings for text/,
    );
  });

  it('passes on what a template raises, and refuses a malformed one', () => {
    const chat = [{ role: 'user', content: 'a' }];
    expect(() =>
      tokenizer.apply_chat_template(chat, { chat_template: "{{ raise_exception('no') }}" }),
    ).toThrow(TokenizerError);
    expect(() => tokenizer.apply_chat_template(chat, { chat_template: '{% if %}' })).toThrow(
      /Malformed chat template/,
    );
  });

  it('warns as transformers words it', () => {
    tokenizer.model_max_length = 1e30;
    tokenizer('a', { truncation: true });
    tokenizer('a', { padding: 'max_length' });
    tokenizer.model_max_length = 1;
    tokenizer('a');
    expect(warnings).toEqual([
      expect.stringContaining('Asking to truncate to max_length but no maximum length is provided'),
      expect.stringContaining('Asking to pad to max_length but no maximum length is provided'),
      expect.stringContaining('Token indices sequence length is longer than the specified maximum'),
    ]);
  });

  it('converts tokens and ids', () => {
    expect(tokenizer.convert_tokens_to_ids(['<s>', '</s>', 'no such token'])).toEqual([1, 2, 0]);
    expect(tokenizer.convert_ids_to_tokens(2)).toBe('</s>');
    expect(tokenizer.convert_ids_to_tokens([1, 2, 99999])).toEqual(['<s>', '</s>']);
    expect(tokenizer.convert_ids_to_tokens([1, 3], { skip_special_tokens: true })).toEqual([
      '<0x00>',
    ]);
    expect(tokenizer.get_vocab()['</s>']).toBe(2);
    expect(tokenizer.special_tokens_map).toMatchObject({ bos_token: '<s>', eos_token: '</s>' });
  });

  it('decodes tensors, rows and single ids', () => {
    const { input_ids } = tokenizer(['가', '나'], { return_tensors: 'pt', padding: true });
    expect(tokenizer.batch_decode(input_ids, { skip_special_tokens: true })).toEqual(['가', '나']);
    const lists = input_ids.tolist() as number[][];
    expect(tokenizer.decode(lists, { skip_special_tokens: true })).toEqual(['가', '나']);
    expect(tokenizer.decode(input_ids[0] as Tensor, { skip_special_tokens: true })).toBe('가');
    expect(tokenizer.decode(2)).toBe('</s>');
    expect(tokenizer.decode([])).toBe('');
    expect(() => tokenizer.decode(input_ids)).toThrow(/one row/);
  });

  it('takes a special token that the vocabulary has, and no other', () => {
    tokenizer.pad_token = '</s>';
    expect(tokenizer.pad_token_id).toBe(2);
    expect(() => {
      tokenizer.pad_token = '[PAD]';
    }).toThrow(/not in the vocabulary/);
  });
});

describe('files that are missing or malformed', () => {
  const folderWith = (name: string, text: string): string => {
    const folder = temporaryFolder();
    folder.write(name, text);
    return folder.path;
  };

  it.each<[string, string, RegExp]>([
    ['tokenizer.json', '{', /not valid JSON/],
    ['tokenizer.json', '[]', /not a JSON object/],
    ['tokenizer.json', '{}', /Unsupported tokenizer model/],
    ['tokenizer.json', '{"model":{"type":"WordLevel","vocab":{}}}', /Unsupported tokenizer model/],
    [
      'tokenizer.json',
      '{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}',
      /id of a token is out of range/,
    ],
    [
      'tokenizer.json',
      '{"model":{"type":"BPE","vocab":{"a":1e300},"merges":[]}}',
      /id of a token is out of range/,
    ],
    [
      'tokenizer.json',
      '{"model":{"type":"BPE","vocab":{},"merges":[]},"added_tokens":[{"id":-1,"content":"a"}]}',
      /Malformed added token/,
    ],
    [
      'tokenizer.json',
      '{"model":{"type":"BPE","vocab":{},"merges":[]},"normalizer":{"type":"Nope"}}',
      /Unknown Normalizer/,
    ],
    [
      'tokenizer.json',
      '{"model":{"type":"BPE","vocab":{},"merges":[]},"post_processor":{"type":"Nope"}}',
      /Unknown post-processor/,
    ],
    ['tokenizer.json', '{"model":{"type":"BPE","vocab":{}}}', /Malformed merges/],
    ['tokenizer.model', 'not a model', /Damaged SentencePiece model/],
  ])('%s: %s', async (name, text, message) => {
    const loading = AutoTokenizer.from_pretrained(folderWith(name, text));
    await expect(loading).rejects.toThrow(message);
    await expect(loading).rejects.toBeInstanceOf(TokenizerError);
  });

  it('a folder without a tokenizer', async () => {
    const loading = AutoTokenizer.from_pretrained(folderWith('config.json', '{}'));
    await expect(loading).rejects.toBeInstanceOf(FileNotFoundError);
  });
});
