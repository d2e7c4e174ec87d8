import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { mutateJson } from '../json.js';
import { damage, type Random } from '../random.js';
import type { FuzzTarget } from '../target.js';
import { smallTokenizer, useTokenizer } from '../tokenizer.js';

const LLAMA_3 =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** Regular expressions, from harmless to hostile. */
function regex(random: Random, depth = 4): string {
  if (depth === 0)
    return random.pick(['a', '.', '\\s', '\\p{L}', '[^a]', 'aa', '한', '\\b', '$', '^']);
  const inner = () => regex(random, depth - 1);
  return random.pick([
    () => inner() + inner(),
    () => `(${inner()}|${inner()})`,
    () => `(${inner()})+`,
    () => `(?:${inner()})*?`,
    () => `(${inner()}){${random.below(40)},${random.below(80)}}`,
    () => `(?=${inner()})`,
    () => `(?!${inner()})`,
    () => `(?<=${inner()})`,
    () => `(?<!${inner()})`,
    () => `(${inner()})\\1`,
    () => `(?i:${inner()})`,
    () => `[a-z&&[^${random.pick(['a', 'z', '\\s'])}]]`,
  ])();
}

function pattern(random: Random): unknown {
  return random.pick([
    { Regex: regex(random) },
    { Regex: LLAMA_3 },
    { String: random.pick(['', ' ', 'a', '▁', 'Hello', '😀']) },
  ]);
}

const text = (random: Random) => random.pick(['', ' ', '▁', 'a', 'aaaa', 'x'.repeat(1000)]);

function normalizer(random: Random): unknown {
  return random.pick([
    () => ({ type: 'Replace', pattern: pattern(random), content: text(random) }),
    () => ({ type: 'Prepend', prepend: text(random) }),
    () => ({ type: 'Strip', strip_left: random.chance(0.5), strip_right: random.chance(0.5) }),
    () => ({ type: random.pick(['NFC', 'NFD', 'NFKC', 'NFKD', 'Lowercase', 'StripAccents']) }),
    () => ({
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      lowercase: true,
    }),
    () => ({ type: 'Precompiled', precompiled_charsmap: 'AAAA' }),
    () => null,
  ])();
}

const BEHAVIORS = ['Isolated', 'Removed', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'];

function preTokenizer(random: Random): unknown {
  return random.pick([
    () => ({
      type: 'Split',
      pattern: pattern(random),
      behavior: random.pick([...BEHAVIORS, 'Other']),
      invert: random.chance(0.5),
    }),
    () => ({
      type: 'ByteLevel',
      add_prefix_space: random.chance(0.5),
      use_regex: random.chance(0.7),
    }),
    () => ({
      type: 'Metaspace',
      replacement: random.pick(['▁', '_', '', 'ab']),
      prepend_scheme: random.pick(['always', 'first', 'never']),
      split: random.chance(0.5),
    }),
    () => ({ type: 'Digits', individual_digits: random.chance(0.5) }),
    () => ({ type: 'FixedLength', length: random.pick([1, 5, 0, -1]) }),
    () => ({ type: 'CharDelimiterSplit', delimiter: random.pick([' ', 'a', '']) }),
    () => ({
      type: random.pick(['Whitespace', 'WhitespaceSplit', 'Punctuation', 'BertPreTokenizer']),
    }),
  ])();
}

function decoder(random: Random): unknown {
  return random.pick([
    () => ({ type: 'Replace', pattern: pattern(random), content: text(random) }),
    () => ({ type: 'Strip', content: text(random), start: random.below(3), stop: random.below(3) }),
    () => ({ type: 'Metaspace', replacement: text(random), prepend_scheme: 'always' }),
    () => ({ type: random.pick(['Fuse', 'ByteFallback', 'ByteLevel', 'CTC']) }),
    () => ({ type: 'WordPiece', prefix: '##', cleanup: random.chance(0.5) }),
    () => ({ type: 'BPEDecoder', suffix: text(random) }),
  ])();
}

function postProcessor(random: Random): unknown {
  const cls = ['<s>', 1];
  return random.pick([
    () => ({ type: 'BertProcessing', cls, sep: ['</s>', 2] }),
    () => ({ type: 'RobertaProcessing', cls, sep: ['</s>', random.pick([2, 1e9, -1])] }),
    () => ({ type: 'ByteLevel' }),
    () => ({
      type: 'Sequence',
      processors: [{ type: 'ByteLevel' }, smallTokenizer().post_processor],
    }),
  ])();
}

function model(random: Random): unknown {
  const list = ['<unk>', '<s>', '</s>', ' ', 'a', 'aa', 'Hello', '##lo', '한', '😀', '<0x61>'];
  const vocab = Object.fromEntries(list.map((token, id) => [token, id]));
  return random.pick([
    () => ({
      type: 'Unigram',
      unk_id: random.pick([0, null, 99]),
      byte_fallback: random.chance(0.5),
      vocab: list.map((token, id) => [token, -id]),
    }),
    () => ({
      type: 'WordPiece',
      unk_token: '<unk>',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: random.pick([100, 1e9]),
      vocab,
    }),
    () => ({
      type: 'BPE',
      unk_token: random.pick(['<unk>', null]),
      fuse_unk: random.chance(0.5),
      byte_fallback: random.chance(0.5),
      ignore_merges: random.chance(0.5),
      continuing_subword_prefix: random.pick([null, '', '##']),
      end_of_word_suffix: random.pick([null, '', '</w>']),
      vocab,
      merges: random.pick([[], ['a a'], [['a', 'a']], [['<unk>', '<unk>']]]),
    }),
  ])();
}

/** A list, or a sequence, of one to four parts; sometimes of very many. */
function sequence(random: Random, members: string, part: () => unknown): unknown {
  if (random.chance(0.3)) return part();
  const count = random.chance(0.1) ? 1 + random.below(100) : 1 + random.below(4);
  return { type: 'Sequence', [members]: Array.from({ length: count }, part) };
}

/** Another section for one of the file's. */
function exchange(json: string, random: Random): string | undefined {
  let file: Record<string, unknown>;
  try {
    file = JSON.parse(json);
  } catch {
    return undefined;
  }
  if (typeof file !== 'object' || file === null || Array.isArray(file)) return undefined;
  switch (random.below(6)) {
    case 0:
      file.normalizer = sequence(random, 'normalizers', () => normalizer(random));
      break;
    case 1:
      file.pre_tokenizer = sequence(random, 'pretokenizers', () => preTokenizer(random));
      break;
    case 2:
      file.decoder = sequence(random, 'decoders', () => decoder(random));
      break;
    case 3:
      file.post_processor = postProcessor(random);
      break;
    case 4:
      file.model = model(random);
      break;
    default:
      file.added_tokens = Array.from({ length: random.below(5) }, () => ({
        id: random.pick([0, 1, 2, 300, 65_000, 1e9]),
        content: random.pick(['<s>', '[PAD]', ' ', 'a', '한국', 'x'.repeat(2000)]),
        single_word: random.chance(0.5),
        lstrip: random.chance(0.5),
        rstrip: random.chance(0.5),
        normalized: random.chance(0.5),
        special: random.chance(0.5),
      }));
  }
  return JSON.stringify(file);
}

export const target: FuzzTarget = {
  name: 'tokenizer-json',
  sources: [
    'lib/tokenizers/added-tokens.ts',
    'lib/tokenizers/components.ts',
    'lib/tokenizers/decoder-chain.ts',
    'lib/tokenizers/decoder.ts',
    'lib/tokenizers/encoder.ts',
    'lib/tokenizers/json-encoder.ts',
    'lib/tokenizers/models/bpe.ts',
    'lib/tokenizers/models/merger.ts',
    'lib/tokenizers/models/unigram.ts',
    'lib/tokenizers/models/wordpiece.ts',
    'lib/tokenizers/normalizers.ts',
    'lib/tokenizers/post-processor.ts',
    'lib/tokenizers/pre-tokenizers.ts',
    'lib/tokenizers/regex/parse.ts',
    'lib/tokenizers/regex/pattern.ts',
    'lib/tokenizers/regex/program.ts',
    'lib/tokenizers/regex/search.ts',
  ],
  minimumCoverage: 90,
  seeds: () => [Buffer.from(JSON.stringify(smallTokenizer()))],
  mutate(input, random) {
    // Often from the valid file, for what was exchanged before is mostly refused.
    const json = random.chance(0.4)
      ? JSON.stringify(smallTokenizer())
      : Buffer.from(input).toString();
    const mutated = random.chance(0.6) ? exchange(json, random) : mutateJson(json, random);
    return mutated !== undefined && random.chance(0.98)
      ? Buffer.from(mutated)
      : damage(input, random);
  },
  async run(input, folder) {
    writeFileSync(path.join(folder, 'tokenizer.json'), input);
    await useTokenizer(folder);
  },
  planted: {
    file: 'lib/tokenizers/components.ts',
    find: 'if (!Array.isArray(list)) {',
    replace: 'if (list === file) {',
  },
};
