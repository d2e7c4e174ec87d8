import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { TokenizerError } from '../../lib/errors.js';
import { SentencePieceProcessor } from '../../lib/tokenizers/sentencepiece/processor.js';
import { readSentencePieceModel } from '../../lib/tokenizers/sentencepiece/proto.js';
import { runAtOnce } from '../../lib/tokenizers/steps.js';
import { answersOf, at, expected } from './fixtures.js';

const MODELS = [
  'spm-bpe',
  'spm-bpe-mapped',
  'spm-bpe-suffix',
  'spm-bpe-noprefix',
  'spm-unigram',
  'spm-unigram-mapped',
];

const bytesOf = (name: string) => readFileSync(path.join(at(name), 'tokenizer.model'));

describe('SentencePiece models give the ids of the sentencepiece package', () => {
  it.each(MODELS)('%s, 200 texts', (name) => {
    const processor = runAtOnce(SentencePieceProcessor.build(bytesOf(name), name));
    expect(expected.texts).toHaveLength(200);
    expected.texts.forEach((text, i) => {
      expect(runAtOnce(processor.encode(text)), JSON.stringify(text)).toEqual(
        answersOf(name).encode[i],
      );
    });
  });
});

/** Fields of a protocol buffer, written by hand. */
const field = (number: number, body: readonly number[]) => [number * 8 + 2, body.length, ...body];
const piece = (text: string, type: number) =>
  field(1, [...field(1, [...Buffer.from(text)]), 0x18, type]);
const MINIMAL = [...piece('<unk>', 2), ...piece('a', 1), ...field(2, [0x18, 2])];

describe('damaged and hostile models are typed errors', () => {
  const read = (bytes: readonly number[] | Uint8Array) =>
    runAtOnce(readSentencePieceModel(Uint8Array.from(bytes), 'tokenizer.model'));

  it('reads the minimal model that the cases below damage', () => {
    expect(read(MINIMAL).pieces.map((p) => p.piece)).toEqual(['<unk>', 'a']);
  });

  it.each<[string, readonly number[], RegExp]>([
    ['empty', [], /no unknown piece/],
    ['no unknown piece', piece('a', 1), /no unknown piece/],
    ['a length past the end', [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f], /past the end/],
    [
      'a length of 2^63',
      [0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
      /past the end/,
    ],
    ['an endless varint', [0x0a, ...new Array(11).fill(0x80)], /more than 10 bytes/],
    ['field number 0', [0x02, 0x00], /field number 0/],
    ['a group', [...MINIMAL, 0x3b], /unknown wire type/],
    ['a wrong wire type', [0x08, 0x01], /wire type of field 1/],
    ['a piece that is not UTF-8', field(1, field(1, [0xff])), /not UTF-8/],
    ['an empty piece', field(1, field(1, [])), /empty/],
    ['an unknown type of piece', piece('a', 9), /unknown type/],
    [
      'a score that is not a number',
      field(1, [...field(1, [0x61]), 0x15, 0, 0, 0xc0, 0x7f]),
      /not a number/,
    ],
    ['a word model', [...MINIMAL, ...field(2, [0x18, 3])], /Unsupported SentencePiece algorithm/],
  ])('%s', (_, bytes, message) => {
    expect(() => read(bytes)).toThrow(TokenizerError);
    expect(() => read(bytes)).toThrow(message);
  });

  it('a character map whose trie is larger than the map', () => {
    const bytes = [...MINIMAL, ...field(3, field(2, [0xff, 0xff, 0xff, 0x7f, 0]))];
    expect(() => runAtOnce(SentencePieceProcessor.build(Uint8Array.from(bytes), 'm'))).toThrow(
      /precompiled_charsmap/,
    );
  });

  it('never anything but a TokenizerError, whichever byte is wrong', () => {
    const good = bytesOf('spm-bpe-mapped');
    let refused = 0;
    for (let i = 0; i < 400; i++) {
      const bad = Uint8Array.from(i % 2 === 0 ? good : good.subarray(0, (good.length * i) / 400));
      bad[(i * 7919) % bad.length] = (i * 31) & 0xff;
      try {
        const processor = runAtOnce(SentencePieceProcessor.build(bad, 'm'));
        runAtOnce(processor.encode('Ｔｅｓｔ 가나 ㎞ §user'));
      } catch (error) {
        expect(error).toBeInstanceOf(TokenizerError);
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(150);
  });
});
