import { copyFileSync, existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { TextStreamer } from '../../lib/generation/streamers.js';
import { AutoTokenizer, type PreTrainedTokenizer } from '../../lib/tokenizers/index.js';
import { skipped } from '../skipped.js';
import { temporaryFolder } from '../temporary-folder.js';

const shared = path.resolve(import.meta.dirname, '../../../shared');
const directory = path.join(shared, 'data/llama2-tokenizer');
const vectorsFile = path.join(shared, 'goldens/llama2-tokenizer.json');
const there = existsSync(directory) && existsSync(vectorsFile);
if (!there) console.log('llama2-vectors: skipped, ../shared holds no Llama-2 tokenizer');

interface Case {
  text: string;
  ids: number[];
}
interface DecodeCase {
  ids: number[];
  text: string;
  first_id_is_bos_to_drop: boolean;
  strip_one_leading_space: boolean;
}

function modelOnly(): string {
  const { path: folder } = temporaryFolder();
  for (const name of ['tokenizer.model', 'special_tokens_map.json', 'tokenizer_config.json']) {
    copyFileSync(path.join(directory, name), path.join(folder, name));
  }
  return folder;
}

describe.skipIf(skipped(!there, 'the Llama 2 tokenizer is not part of this repository'))(
  'the real Llama-2 tokenizer',
  () => {
    const vectors = there
      ? (JSON.parse(readFileSync(vectorsFile, 'utf8')) as {
          encode: Case[];
          korean: Case[];
          decode: DecodeCase[];
        })
      : { encode: [], korean: [], decode: [] };
    const cases = [...vectors.encode, ...vectors.korean];

    for (const kind of ['tokenizer.json', 'tokenizer.model alone']) {
      describe(kind, () => {
        let tokenizer: PreTrainedTokenizer;
        beforeAll(async () => {
          tokenizer = await AutoTokenizer.from_pretrained(
            kind === 'tokenizer.json' ? directory : modelOnly(),
          );
        });

        it(`encodes all vectors (${cases.length})`, () => {
          expect(cases.length).toBeGreaterThan(100);
          for (const { text, ids } of cases) {
            expect(tokenizer.encode(text, { add_special_tokens: false }), text).toEqual(ids);
            expect(tokenizer.encode(text), text).toEqual([1, ...ids]);
          }
        });

        it('gives the text back', () => {
          for (const { text, ids } of cases) expect(tokenizer.decode(ids), text).toBe(text);
        });

        it('streams the text without a half character', () => {
          for (const { text, ids } of cases) {
            const pieces: string[] = [];
            const streamer = new TextStreamer(tokenizer, {
              callback_function: (s) => pieces.push(s),
            });
            for (const id of ids) streamer.put([id]);
            streamer.end();
            expect(pieces.join('')).toBe(text);
            if (!text.includes('\uFFFD'))
              expect(pieces.some((s) => s.includes('\uFFFD'))).toBe(false);
          }
        });

        it('decodes with and without bos', () => {
          const [drop, keep] = [
            vectors.decode.find((c) => c.first_id_is_bos_to_drop && c.strip_one_leading_space),
            vectors.decode.find((c) => !c.first_id_is_bos_to_drop),
          ] as [DecodeCase, DecodeCase];
          expect(tokenizer.decode(drop.ids, { skip_special_tokens: true })).toBe(drop.text);
          expect(tokenizer.decode(keep.ids)).toBe(keep.text);
        });
      });
    }
  },
);
