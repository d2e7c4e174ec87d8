import { AutoTokenizer, type PreTrainedTokenizer } from '../../lib/tokenizers/index.js';

/** Words, syllables that are bytes, spaces, added tokens, emoji, and half of one. */
export const TEXT = "<s> Hello, world's 42 안녕하세요 뷁\n\n  it's [PAD] aaaa 😀 \ud83d 한국";

/** Uses a tokenizer's folder as a program does: loads, encodes both ways, decodes, streams. */
export async function useTokenizer(folder: string): Promise<PreTrainedTokenizer> {
  const tokenizer = await AutoTokenizer.from_pretrained(folder);
  const ids = tokenizer.encode(TEXT);
  const later = await tokenizer.encode_async(TEXT);
  if (`${ids}` !== `${later}`) throw new Error('encode and encode_async differ');
  tokenizer(['a', TEXT], { text_pair: [TEXT, 'b'], return_token_type_ids: true });
  tokenizer.decode(ids);
  tokenizer.decode(ids, { skip_special_tokens: true });
  const stream = tokenizer.decodeStream();
  stream.skip(ids.slice(0, 3));
  // Some decoders look at all ids again for each.
  for (const id of ids.slice(3, 300)) stream.push(id);
  stream.finish();
  tokenizer.get_vocab();
  void tokenizer.all_special_ids;
  return tokenizer;
}

const bytes = Array.from({ length: 256 }, (_, byte) => {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
});

/** The smallest tokenizer.json in Llama 2's layout that encodes everything. */
export function smallTokenizer(): Record<string, unknown> {
  const tokens = ['<unk>', '<s>', '</s>', ...bytes, '▁', 'a', 'b', 'aa', '▁a', '한', '국', '한국'];
  return {
    added_tokens: [
      { id: 0, content: '<unk>', special: true },
      { id: 1, content: '<s>', special: true, lstrip: true },
      { id: 2, content: '</s>', special: true, rstrip: true, single_word: true },
    ],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: '▁' },
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: [
        ['a', 'a'],
        ['▁', 'a'],
        ['한', '국'],
      ],
    },
  };
}
