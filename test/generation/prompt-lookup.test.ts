import { describe, expect, it } from 'vitest';
import { generate } from '../../lib/generation/generate.js';
import { LogitsProcessor } from '../../lib/generation/logits-processor.js';
import type { GenerateOptions } from '../../lib/generation/options.js';
import { lookUp } from '../../lib/generation/prompt-lookup.js';
import { FakeModel, hashModel } from './fake-engine.js';
import { collectWarnings, rejection } from './support.js';

const warnings = collectWarnings();

describe('lookUp', () => {
  it.each<[string, number[], number, number, number[], number[]]>([
    ['what followed the last n-gram', [1, 2, 3, 4, 1, 2], 2, 2, [], [3, 4]],
    ['what followed the longest one', [5, 2, 9, 1, 2, 7, 1, 2], 2, 1, [], [7]],
    ['shorter ones where there is none', [5, 2, 9, 1, 2], 2, 2, [], [9, 1]],
    ['the first occurrence', [2, 8, 2, 9, 2], 1, 1, [], [8]],
    ['no more than there is', [4, 4], 2, 5, [], [4]],
    ['nothing', [1, 2, 3], 2, 5, [], []],
    ['nothing of one token', [1], 2, 5, [], []],
    ['what comes before an end token', [1, 6, 9, 6, 1], 2, 5, [9], [6]],
    ['nothing where an end token follows', [1, 9, 6, 1], 2, 5, [9], []],
  ])('gives %s', (_, ids, longest, count, eos, expected) => {
    expect(lookUp(ids, longest, count, eos)).toEqual(expected);
  });
});

/** Repeats itself: the next token depends on the last one, with a detour every eighth token. */
function loopingModel(): FakeModel {
  return new FakeModel(
    (ids) => {
      const logits = new Float32Array(20);
      const last = ids.at(-1) as number;
      logits[ids.length % 8 === 0 ? (last + 3) % 20 : (last * 7 + 1) % 20] = 3;
      return logits;
    },
    { vocab_size: 20 },
  );
}

describe('prompt lookup', () => {
  const input_ids = [[4, 9, 4, 9, 5]];

  it.each<[string, Partial<GenerateOptions>]>([
    ['greedy', {}],
    ['penalised', { repetition_penalty: 1.3, no_repeat_ngram_size: 4 }],
    ['sampled', { do_sample: true, seed: 9, top_k: 4 }],
    ['with an end token', { eos_token_id: [15] }],
    ['with a criterion', { stopping_criteria: (ids) => (ids[0] as number[]).length === 17 }],
    ['with larger n-grams', { max_matching_ngram_size: 4 }],
  ])('gives the same as without, in fewer runs: %s', async (name, more) => {
    const options = {
      input_ids,
      max_new_tokens: 40,
      ...more,
      return_dict_in_generate: true as const,
      output_scores: true,
      output_logits: true,
      output_logprobs: 1,
    };
    const plain = await generate(loopingModel(), options);
    const model = loopingModel();
    const lookup = await generate(model, { ...options, prompt_lookup_num_tokens: 5 });
    expect(lookup.sequences.tolist()).toEqual(plain.sequences.tolist());
    expect(lookup.scores).toEqual(plain.scores);
    expect(lookup.logits).toEqual(plain.logits);
    expect(lookup.logprobs).toEqual(plain.logprobs);
    const statistics = lookup.prompt_lookup ?? { steps: 0, proposed: 0, accepted: 0 };
    const generated = (lookup.sequences.dims[1] as number) - 5;
    expect(statistics.accepted).toBeLessThanOrEqual(statistics.proposed);
    expect(statistics.steps + statistics.accepted).toBeGreaterThanOrEqual(generated);
    if (name === 'greedy') expect(statistics.steps).toBeLessThan(generated / 2);
    expect(model.session.calls.forward).toBe(1 + statistics.steps);
    expect(plain.prompt_lookup).toBeNull();
  });

  it('calls processors once a token, in order', async () => {
    class Lengths extends LogitsProcessor {
      readonly seen: number[] = [];
      _call(ids: number[][], scores: Float32Array[]): Float32Array[] {
        this.seen.push((ids[0] as number[]).length);
        return scores;
      }
    }
    const processor = new Lengths();
    await generate(loopingModel(), {
      input_ids,
      max_new_tokens: 20,
      prompt_lookup_num_tokens: 4,
      logits_processor: processor,
    });
    expect(processor.seen).toEqual(Array.from({ length: 20 }, (_, i) => i + 5));
  });

  it('never runs beyond the cache', async () => {
    const model = new FakeModel(loopingModel().logitsOf, { vocab_size: 20, max_length: 20 });
    const options = { input_ids, max_new_tokens: 40, prompt_lookup_num_tokens: 10 };
    expect((await generate(model, options)).dims).toEqual([1, 21]);
  });

  it('streams what each run gives', async () => {
    const streamed: number[] = [];
    let puts = 0;
    const ids = await generate(loopingModel(), {
      input_ids,
      max_new_tokens: 30,
      prompt_lookup_num_tokens: 5,
      streamer: {
        put(value) {
          puts++;
          streamed.push(...(value[0] as number[]));
        },
        end() {},
      },
    });
    expect([streamed]).toEqual(ids.tolist());
    expect(puts).toBeLessThan(31);
  });

  it('is for one row', async () => {
    const batch = [[1], [3]];
    const options = { input_ids: batch, attention_mask: batch, prompt_lookup_num_tokens: 2 };
    expect(await rejection(generate(hashModel(), options))).toBe(
      'assisted generate is only supported for batch_size = 1: found 2 (prompt_lookup_num_tokens)',
    );
    const several = {
      input_ids,
      do_sample: true,
      num_return_sequences: 2,
      prompt_lookup_num_tokens: 2,
    };
    expect(await rejection(generate(hashModel(), several))).toBe(
      'num_return_sequences has to be 1 when doing assisted generate, but is 2.',
    );
  });

  it('is left out under beam search, with a warning', async () => {
    const options = { input_ids, num_beams: 2, prompt_lookup_num_tokens: 2, max_new_tokens: 2 };
    expect((await generate(hashModel({}), options)).dims).toEqual([1, 7]);
    expect(warnings).toEqual([
      "You've set `prompt_lookup_num_tokens`, which triggers assisted generate. Currently, " +
        'assisted generate is only supported with Greedy Search and Sample. However, the base ' +
        'decoding mode (based on current flags) is beam_search -- some of the set flags will be ' +
        'ignored.',
    ]);
  });

  it.each([
    ['prompt_lookup_num_tokens', 0],
    ['max_matching_ngram_size', -1],
  ])('needs a positive %s', async (name, value) => {
    const options = { input_ids, prompt_lookup_num_tokens: 2, [name]: value };
    expect(await rejection(generate(hashModel(), options))).toBe(
      `Expected an integer > 0 for ${name} but received ${value} of type number`,
    );
  });
});
