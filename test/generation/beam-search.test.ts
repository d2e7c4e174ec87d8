import { describe, expect, it } from 'vitest';
import { logSoftmax } from '../../lib/generation/float32.js';
import { generate } from '../../lib/generation/generate.js';
import { LogitsProcessor } from '../../lib/generation/logits-processor.js';
import { FakeModel, hashModel } from './fake-engine.js';
import { collectWarnings, rowsOf } from './support.js';

collectWarnings();
const input_ids = [[1, 5, 9]];

describe('beam search', () => {
  it('finds the best sequence where it keeps them all', async () => {
    const vocab_size = 4;
    const model = hashModel({}, { vocab_size });
    const prompt = [1, 3];
    const ids = await generate(model, { input_ids: prompt, num_beams: 64, max_new_tokens: 3 });
    let best: number[] = [];
    let bestScore = Number.NEGATIVE_INFINITY;
    const walk = (text: number[], score: number): void => {
      if (text.length === prompt.length + 3) {
        if (score > bestScore) [best, bestScore] = [text, score];
        return;
      }
      const logs = logSoftmax(model.logitsOf(text));
      for (let id = 0; id < vocab_size; id++) walk([...text, id], score + (logs[id] as number));
    };
    walk(prompt, 0);
    expect(ids.tolist()).toEqual([best]);
  });

  it('runs the prompt once and keeps as many sequences as there are beams', async () => {
    const model = hashModel({});
    await generate(model, { input_ids, num_beams: 4, max_new_tokens: 6 });
    const { calls, tokensRun } = model.session;
    expect(calls.create).toBe(1);
    expect(tokensRun).toBe(2 + 4 * 6);
    expect(1 + calls.fork - calls.release).toBe(4);
  });

  it('tells processors with state how the beams were permuted', async () => {
    class Follows extends LogitsProcessor {
      /** What each row was given last, kept along with the row. */
      private last: number[][] = [];
      override reorder(parents: readonly number[]): void {
        this.last = parents.map((p) => this.last[p] as number[]);
      }
      _call(ids: number[][], scores: Float32Array[]): Float32Array[] {
        ids.forEach((row, r) => {
          const before = this.last[r];
          if (before !== undefined) expect(row.slice(0, -1)).toEqual(before);
        });
        this.last = ids.map((row) => row.slice());
        return scores;
      }
    }
    const options = { input_ids, num_beams: 4, max_new_tokens: 8 };
    const model = hashModel({});
    await generate(model, { ...options, logits_processor: [new Follows()] });
    expect(model.session.calls.fork).toBeGreaterThan(3);
  });

  it('guides each beam by its own unconditional text', async () => {
    const options = { input_ids, num_beams: 3, max_new_tokens: 6, guidance_scale: 1.7 };
    const output = await generate(hashModel({}), {
      ...options,
      num_return_sequences: 3,
      return_dict_in_generate: true,
      output_scores: true,
    });
    // The best beam's scores are what its own text and that text alone give.
    const model = hashModel();
    const row = rowsOf(output.sequences)[0] as number[];
    const beams = output.beam_indices?.tolist() as number[][];
    for (let step = 0; step < 6; step++) {
      const text = row.slice(0, 3 + step);
      const conditional = logSoftmax(logSoftmax(model.logitsOf(text)));
      const base = logSoftmax(model.logitsOf([9, ...row.slice(3, 3 + step)]));
      const beam = beams[0]?.[step] as number;
      const scores = output.scores?.[step];
      conditional.forEach((x, id) => {
        const expected = 1.7 * (x - (base[id] as number)) + (base[id] as number);
        expect(Number(scores?.data[beam * 32 + id])).toBeCloseTo(expected, 4);
      });
    }
  });

  it('stops where the cache is full', async () => {
    const model = hashModel({}, { max_length: 5 });
    const ids = await generate(model, { input_ids, num_beams: 2, max_new_tokens: 9 });
    expect(ids.dims).toEqual([1, 6]);
  });

  it('ends beams by criteria', async () => {
    const ids = await generate(hashModel({ pad_token_id: 0 }), {
      input_ids,
      num_beams: 2,
      max_new_tokens: 9,
      stopping_criteria: async (rows) => rows.map((row) => row.length >= 5),
    });
    expect(ids.dims).toEqual([1, 5]);
  });
});

describe('beam sampling', () => {
  it('draws candidates one after the other, without replacement', async () => {
    // At the last step the first num_beams candidates drawn are the ones that finish.
    const p = [0.4, 0.3, 0.2, 0.1];
    const model = new FakeModel(() => Float32Array.from(p, Math.log), { vocab_size: 4 });
    const counts = new Map<string, number>();
    const draws = 3000;
    for (let seed = 0; seed < draws; seed++) {
      const ids = await generate(model, {
        input_ids: [3],
        num_beams: 2,
        num_return_sequences: 2,
        do_sample: true,
        top_k: 0,
        max_new_tokens: 1,
        seed,
      });
      const pair = rowsOf(ids).map((row) => row[1] as number);
      const key = pair.sort().join();
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    let statistic = 0;
    for (let i = 0; i < 4; i++) {
      for (let j = i + 1; j < 4; j++) {
        const [x, y] = [p[i] as number, p[j] as number];
        const expected = draws * ((x * y) / (1 - x) + (y * x) / (1 - y));
        statistic += ((counts.get(`${i},${j}`) ?? 0) - expected) ** 2 / expected;
      }
    }
    // Five degrees of freedom: 20.5 is p = 0.001.
    expect(statistic).toBeLessThan(20.5);
  });

  it('gives other texts for other seeds, and none that warpers forbid', async () => {
    const texts = new Set<string>();
    for (let seed = 0; seed < 20; seed++) {
      const ids = await generate(hashModel({}), {
        input_ids,
        num_beams: 2,
        do_sample: true,
        bad_words_ids: [[3], [4]],
        max_new_tokens: 6,
        seed,
      });
      const row = rowsOf(ids)[0]?.slice(3) as number[];
      expect(row).not.toContain(3);
      expect(row).not.toContain(4);
      texts.add(String(row));
    }
    expect(texts.size).toBeGreaterThan(10);
  });

  it('fills up with impossible tokens where too few are possible', async () => {
    const model = new FakeModel(() => Float32Array.of(9, 1, 1, 1), { vocab_size: 4 });
    const options = { input_ids: [3], num_beams: 3, do_sample: true, top_k: 1, seed: 1 };
    const ids = await generate(model, { ...options, max_new_tokens: 2 });
    expect(ids.dims).toEqual([1, 3]);
  });
});
