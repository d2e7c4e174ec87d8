import { describe, expect, it } from 'vitest';
import { generate } from '../../lib/generation/generate.js';
import { stream } from '../../lib/generation/stream.js';
import { AutoTokenizer } from '../../lib/index.js';
import { FakeModel, hashModel, scriptedLogits } from './fake-engine.js';
import { collectWarnings, rejection, rowsOf } from './support.js';

collectWarnings();
const input_ids = [1, 5, 9];

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const out: T[] = [];
  for await (const value of source) out.push(value);
  return out;
}

describe('stream', () => {
  it('gives token ids without a tokenizer', async () => {
    const ids = await generate(hashModel({}), { input_ids, max_new_tokens: 6 });
    const row = rowsOf(ids)[0] as number[];
    const options = { input_ids, max_new_tokens: 6 };
    expect(await collect(stream(hashModel({}), options))).toEqual(row.slice(3));
    expect(await collect(stream(hashModel({}), { ...options, skip_prompt: false }))).toEqual(row);
  });

  it('gives text with a tokenizer', async () => {
    const folder = new URL('../../models/komt-tiny', import.meta.url).pathname;
    const tokenizer = await AutoTokenizer.from_pretrained(folder);
    const prompt = tokenizer.encode('질문');
    const vocab_size = tokenizer.length;
    const script = tokenizer.encode('은 대답이다.\n뷁, 🙂 끝', { add_special_tokens: false });
    const model = new FakeModel(scriptedLogits(vocab_size, prompt.length, script), { vocab_size });
    const options = { input_ids: prompt, max_new_tokens: script.length };
    const pieces = await collect(stream(model, { ...options, tokenizer }));
    const row = rowsOf(await generate(model, options))[0] as number[];
    const whole = tokenizer.decode(row.slice(prompt.length), { skip_special_tokens: true });
    expect(pieces.join('')).toBe(whole);
    expect(whole).toContain('뷁, 🙂 끝');
    expect(pieces.length).toBeGreaterThan(5);
    expect(pieces.join('')).not.toContain('\ufffd');
  });

  it('ends the generation when the loop is left', async () => {
    const model = hashModel({});
    let n = 0;
    for await (const _ of stream(model, { input_ids, max_new_tokens: 100000 })) {
      if (++n === 3) break;
    }
    expect(model.session.disposed).toBe(true);
    expect(model.session.tokensRun).toBeLessThan(1000);
  });

  it('throws what generate throws, after what came before', async () => {
    const model = hashModel({});
    const seen: number[] = [];
    const run = async (): Promise<void> => {
      const options = {
        input_ids,
        max_new_tokens: 9,
        stopping_criteria: (ids: number[][]) => {
          if ((ids[0] as number[]).length === 5) throw new Error('mine');
          return false;
        },
      };
      for await (const id of stream(model, options)) seen.push(id);
    };
    expect(await rejection(run())).toBe('mine');
    expect(seen).toHaveLength(2);
  });

  it('ends with AbortError when the signal fires', async () => {
    const controller = new AbortController();
    const run = async (): Promise<void> => {
      const options = { input_ids, max_new_tokens: 100000, signal: controller.signal };
      for await (const _ of stream(hashModel({}), options)) controller.abort();
    };
    await expect(run()).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('is for one row', async () => {
    const batch = [[1], [3]];
    const source = stream(hashModel({}), { input_ids: batch, attention_mask: batch });
    expect(await rejection(collect(source))).toBe(
      'stream only supports batch size 1 (input_ids). Stream each prompt on its own, or pass a ' +
        'streamer of your own to generate',
    );
  });
});
