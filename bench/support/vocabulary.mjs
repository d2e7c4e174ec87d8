/**
 * A vocabulary for checkpoints with random weights, laid out as Llama 2's: three special tokens, 256
 * bytes, then pieces. It exists so that what such a model says can be decoded as Korean text is:
 * syllables that are one token, syllables of three bytes, words that begin with a space.
 */

const SPECIAL = ['<unk>', '<s>', '</s>'];

/** Kinds of tokens, by number as GGUF's token_type has them. */
const KIND = { normal: 1, unknown: 2, control: 3, byte: 6 };

function* names() {
  yield* SPECIAL;
  for (let byte = 0; byte < 256; byte++) {
    yield `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
  }
  const syllable = (i) => String.fromCodePoint(0xac00 + (i % 11172));
  for (let i = 0; i < 11172; i++) yield syllable(i);
  for (let i = 0; i < 11172; i++) yield `▁${syllable(i)}`;
  for (let i = 0; ; i++) yield `${syllable(i)}${syllable(i * 7 + 1 + Math.floor(i / 11172))}`;
}

/** @returns {{ text: string, kind: number }[]} `size` tokens, at least 259 */
export function makeVocabulary(size) {
  if (size < 259)
    throw new Error(`Expected a vocabulary of at least 259 tokens but received ${size}`);
  const tokens = [];
  for (const text of names()) {
    if (tokens.length === size) break;
    const id = tokens.length;
    const kind =
      id === 0 ? KIND.unknown : id < 3 ? KIND.control : id < 259 ? KIND.byte : KIND.normal;
    tokens.push({ text, kind });
  }
  return tokens;
}

/** The vocabulary as tokenizer.json: byte-fallback BPE without merges. */
export function tokenizerJson(tokens) {
  const replace = (from, to) => ({ type: 'Replace', pattern: { String: from }, content: to });
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIAL.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: {
      type: 'Sequence',
      normalizers: [{ type: 'Prepend', prepend: '▁' }, replace(' ', '▁')],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        replace('▁', ' '),
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map(({ text }, id) => [text, id])),
      merges: [],
    },
  };
}

export const tokenizerConfig = {
  add_bos_token: true,
  add_eos_token: false,
  bos_token: '<s>',
  eos_token: '</s>',
  unk_token: '<unk>',
  pad_token: '<unk>',
  clean_up_tokenization_spaces: false,
  legacy: true,
  tokenizer_class: 'LlamaTokenizer',
};
