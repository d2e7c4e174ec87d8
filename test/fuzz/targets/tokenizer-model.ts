import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { damage, type Random } from '../random.js';
import type { FuzzTarget } from '../target.js';
import { useTokenizer } from '../tokenizer.js';

const FIXTURES = path.resolve('test/fixtures/tokenizers');
const MODELS = ['spm-bpe', 'spm-bpe-mapped', 'spm-bpe-suffix', 'spm-unigram', 'spm-unigram-mapped'];

/** Bytes of a varint. */
function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  return [...bytes, rest];
}

/** The fields of a message, each with its tag and length; the rest as one where it is damaged. */
function fields(message: Uint8Array): Uint8Array[] {
  const out: Uint8Array[] = [];
  let at = 0;
  while (at < message.length) {
    const start = at;
    const read = () => {
      let value = 0;
      for (let shift = 0; at < message.length && shift < 56; shift += 7) {
        const byte = message[at++] as number;
        value += (byte & 0x7f) * 2 ** shift;
        if (byte < 0x80) break;
      }
      return value;
    };
    const wire = read() % 8;
    if (wire === 0) read();
    else if (wire === 1) at += 8;
    else if (wire === 2) at += read();
    else if (wire === 5) at += 4;
    else at = message.length;
    out.push(message.subarray(start, Math.min(at, message.length)));
    at = Math.min(at, message.length);
  }
  return out;
}

/** A field with another value: of a piece, the trainer's or the normalizer's settings. */
function exchange(random: Random): number[] {
  const text = () => {
    const bytes = [
      ...Buffer.from(random.pick(['a', ' ', '▁▁', '한국', '<0x41>', '', 'x'.repeat(2000)])),
    ];
    return random.chance(0.1) ? [0xff, ...bytes] : bytes;
  };
  const wrap = (field: number, body: number[]) => [field * 8 + 2, ...varint(body.length), ...body];
  const setting = (field: number, value: number) => [...varint(field * 8), ...varint(value)];
  const value = random.pick([0, 1, 2, 3, 4, 5, 6, 7, 127, 2 ** 31, 2 ** 53]);
  return random.pick([
    () => wrap(1, [...wrap(1, text()), ...setting(3, value)]),
    () => wrap(1, [...wrap(1, text()), 0x15, 0, 0, random.pick([0, 0x80, 0xc0]), 0x7f]),
    () => wrap(2, setting(random.pick([3, 24, 35, 40, 41, 42, 43]), value)),
    () => wrap(3, setting(random.pick([3, 4, 5]), value)),
    () => wrap(3, wrap(2, [...varint(value), 0, 0, 0, ...text()])),
    () => [random.below(256), random.below(256), random.below(256)],
  ])();
}

const seeds = MODELS.map((name) => readFileSync(path.join(FIXTURES, name, 'tokenizer.model')));

export const target: FuzzTarget = {
  name: 'tokenizer-model',
  sources: [
    'lib/tokenizers/sentencepiece-encoder.ts',
    'lib/tokenizers/sentencepiece/bpe.ts',
    'lib/tokenizers/sentencepiece/charsmap.ts',
    'lib/tokenizers/sentencepiece/normalizer.ts',
    'lib/tokenizers/sentencepiece/processor.ts',
    'lib/tokenizers/sentencepiece/proto.ts',
    'lib/tokenizers/sentencepiece/unigram.ts',
    'lib/tokenizers/sentencepiece/vocabulary.ts',
  ],
  minimumCoverage: 90,
  seeds: () => seeds,
  mutate(input, random) {
    if (random.chance(0.1)) return damage(input, random);
    // Often from a valid file, for most of what was changed before is refused.
    const base = random.chance(0.6) ? random.pick(seeds) : input;
    const list = fields(base).map((field) => Buffer.from(field));
    for (let i = random.below(4); i >= 0; i--) {
      const at = random.below(list.length);
      const field = list[at] ?? Buffer.alloc(0);
      switch (random.below(5)) {
        case 0:
          list.splice(at, 1);
          break;
        case 1:
          list.push(field);
          break;
        case 2:
          if (list.length > 0) list[at] = Buffer.from(damage(field, random));
          break;
        default:
          list.splice(random.chance(0.5) ? at : list.length, 0, Buffer.from(exchange(random)));
      }
    }
    return Buffer.concat(list);
  },
  async run(input, folder) {
    writeFileSync(path.join(folder, 'tokenizer.model'), input);
    await useTokenizer(folder);
  },
  planted: {
    file: 'lib/tokenizers/sentencepiece/proto.ts',
    find: 'if (count > this.#view.byteLength - at) {',
    replace: 'if (count < 0) {',
  },
};
