import { describe, expect, it } from 'vitest';
import { AbortError } from '../../lib/errors.js';
import { planNative } from '../../lib/generation/decode-plan.js';
import { logSoftmax } from '../../lib/generation/float32.js';
import { generate } from '../../lib/generation/generate.js';
import type { GenerationFields } from '../../lib/generation/generation-fields.js';
import { LogitsProcessor, LogitsProcessorList } from '../../lib/generation/logits-processor.js';
import { get_logits_processor } from '../../lib/generation/logits-processor-list.js';
import {
  MinLengthLogitsProcessor,
  RepetitionPenaltyLogitsProcessor,
} from '../../lib/generation/logits-processors.js';
import { TopKLogitsWarper } from '../../lib/generation/logits-warpers.js';
import type { GenerateOptions } from '../../lib/generation/options.js';
import {
  EosTokenCriteria,
  MaxLengthCriteria,
  MaxTimeCriteria,
  StoppingCriteriaList,
} from '../../lib/generation/stopping-criteria.js';
import type { Tensor } from '../../lib/tensor.js';
import { FakeModel, hashModel, scriptedLogits } from './fake-engine.js';
import { collectWarnings, rejection, rowsOf } from './support.js';

const warnings = collectWarnings();
const input_ids = [[1, 5, 9, 4]];
/** A processor that changes nothing and keeps a call from running natively. */
const identity = (_: number[][], scores: Float32Array[]): Float32Array[] => scores;

describe('planNative', () => {
  const plan = (config: GenerationFields, more: Partial<Parameters<typeof planNative>[0]> = {}) =>
    planNative({
      processors: get_logits_processor(config, { input_ids_seq_length: 4, eos_token_id: 2 }),
      criteria: new StoppingCriteriaList([new MaxLengthCriteria(9), new EosTokenCriteria([2])]),
      do_sample: config.do_sample === true,
      promptLength: 4,
      needsScores: false,
      ...more,
    });

  it('takes what the native sampler knows', () => {
    const all = {
      do_sample: true,
      repetition_penalty: 1.1,
      min_new_tokens: 3,
      temperature: 0.9,
      top_k: 5,
      top_p: 0.8,
      min_p: 0.05,
      typical_p: 0.9,
    };
    expect(plan(all)).toMatchObject({ sampling: all, eos_token_ids: [2] });
    expect(plan({ min_length: 6 })?.sampling.min_new_tokens).toBe(2);
    expect(plan({ min_length: 3 })?.sampling.min_new_tokens).toBe(0);
  });

  it.each<[string, GenerationFields]>([
    ['top_h', { do_sample: true, top_h: 0.5 }],
    ['epsilon_cutoff', { do_sample: true, epsilon_cutoff: 0.1 }],
    ['eta_cutoff', { do_sample: true, eta_cutoff: 0.1 }],
    ['no_repeat_ngram_size', { no_repeat_ngram_size: 2 }],
    ['bad_words_ids', { bad_words_ids: [[3]] }],
    ['renormalize_logits', { renormalize_logits: true }],
    ['suppress_tokens', { suppress_tokens: [3] }],
  ])('leaves %s to JavaScript', (_, config) => {
    expect(plan(config)).toBeNull();
  });

  it('leaves to JavaScript what is not exactly a built-in', () => {
    class Mine extends RepetitionPenaltyLogitsProcessor {}
    const list = (...items: LogitsProcessor[]) => ({ processors: new LogitsProcessorList(items) });
    expect(plan({}, list(new RepetitionPenaltyLogitsProcessor(2)))).not.toBeNull();
    expect(plan({}, list(new Mine(2)))).toBeNull();
    expect(plan({}, list(new RepetitionPenaltyLogitsProcessor(2, 3)))).toBeNull();
    expect(plan({}, list(new MinLengthLogitsProcessor(9, 7)))).toBeNull();
    expect(plan({}, list(new TopKLogitsWarper(3)))).toBeNull();
    const twice = [new TopKLogitsWarper(3), new TopKLogitsWarper(2)];
    expect(plan({ do_sample: true }, list(...twice))).toBeNull();
    const soft = new TopKLogitsWarper(3, -100);
    expect(plan({ do_sample: true }, list(soft))).toBeNull();
    expect(plan({}, { processors: new LogitsProcessorList([identity]) })).toBeNull();
    expect(plan({}, { needsScores: true })).toBeNull();
  });

  it('keeps for JavaScript the criteria the engine does not know', () => {
    class Mine extends MaxLengthCriteria {}
    const criteria = new StoppingCriteriaList([
      new MaxLengthCriteria(9),
      new EosTokenCriteria([2, 3]),
      new MaxTimeCriteria(1),
      new Mine(8),
    ]);
    const found = plan({}, { criteria });
    expect([...(found?.judges ?? [])]).toEqual([criteria.at(2), criteria.at(3)]);
    expect(found?.eos_token_ids).toEqual([2, 3]);
  });
});

describe('native and JavaScript decoding', () => {
  const cases: [string, Partial<GenerateOptions>][] = [
    ['greedy', {}],
    ['penalised', { repetition_penalty: 1.4, min_new_tokens: 6 }],
    ['sampled', { do_sample: true, seed: 3 }],
    [
      'sampled with every native warper',
      {
        do_sample: true,
        seed: 4,
        temperature: 0.8,
        top_k: 20,
        top_p: 0.9,
        min_p: 0.02,
        typical_p: 0.95,
      },
    ],
    ['sampled twice', { do_sample: true, seed: 5, num_return_sequences: 2 }],
  ];
  it.each(cases)('give the same tokens: %s', async (_, more) => {
    const options = {
      input_ids: [[0, 1, 5, 9], ...input_ids],
      attention_mask: [
        [0, 1, 1, 1],
        [1, 1, 1, 1],
      ],
      max_new_tokens: 16,
      pad_token_id: 0,
      ...more,
      output_logprobs: 0,
    };
    const model = hashModel({ eos_token_id: [2, 3, 4] });
    const native = await generate(model, options);
    const loop = await generate(model, { ...options, logits_processor: identity });
    expect(model.sessions.map(({ calls }) => calls.decode)).toEqual([1, 0]);
    expect(loop.sequences.tolist()).toEqual(native.sequences.tolist());
    expect(loop.logprobs?.map((row) => row.length)).toEqual(
      native.logprobs?.map((row) => row.length),
    );
    native.logprobs?.forEach((row, r) => {
      row.forEach((token, i) => {
        expect(loop.logprobs?.[r]?.[i]?.token_id).toBe(token.token_id);
        expect(loop.logprobs?.[r]?.[i]?.logprob).toBeCloseTo(token.logprob, 5);
      });
    });
  });
});

describe('work', () => {
  it('runs a prompt once for all its return sequences', async () => {
    for (const logits_processor of [[], [identity]]) {
      const model = hashModel({});
      await generate(model, {
        input_ids,
        do_sample: true,
        num_return_sequences: 5,
        max_new_tokens: 2,
        logits_processor,
      });
      const { calls, tokensRun } = model.session;
      expect(calls).toMatchObject({ create: 1, fork: 4 });
      // The prompt but its last token; that one in each row; and in JavaScript one step more.
      expect(tokensRun).toBe(3 + 5 + (logits_processor.length > 0 ? 5 : 0));
    }
  });

  it('runs equal prompts of a batch once', async () => {
    const model = hashModel({});
    const batch = [...input_ids, ...input_ids];
    await generate(model, { input_ids: batch, attention_mask: batch, max_new_tokens: 1 });
    expect(model.session.tokensRun).toBe(3 + 2);
  });

  it('does not run rows that have finished', async () => {
    const logitsOf = (ids: readonly number[]): Float32Array => {
      const logits = new Float32Array(10);
      logits[ids[0] === 5 ? 2 : 3] = 1;
      return logits;
    };
    const model = new FakeModel(logitsOf, { vocab_size: 10 });
    const batch = [[5], [4]];
    await generate(model, {
      input_ids: batch,
      attention_mask: batch,
      eos_token_id: 2,
      max_new_tokens: 6,
      logits_processor: identity,
    });
    expect(model.session.tokensRun).toBe(2 + 5);
    expect(model.session.calls.release).toBe(2);
  });

  it('asks JavaScript at every step only where somebody listens', async () => {
    const model = hashModel({});
    const run = (more: Partial<GenerateOptions>) =>
      generate(model, {
        input_ids,
        max_new_tokens: 1,
        ...more,
        return_dict_in_generate: false,
        output_logprobs: null,
      });
    await run({});
    await run({ stopping_criteria: () => false });
    await run({ streamer: { put() {}, end() {} } });
    await run({ max_time: 100 });
    expect(model.sessions.map(({ requests }) => requests[0]?.ask)).toEqual([
      false,
      true,
      true,
      true,
    ]);
  });

  it('ends answers at what the cache can hold, and says so', async () => {
    for (const logits_processor of [[], [identity]]) {
      const model = hashModel({}, { max_length: 6 });
      const ids = await generate(model, { input_ids, max_new_tokens: 9, logits_processor });
      expect(ids.dims).toEqual([1, 7]);
    }
    expect(warnings).toEqual([
      'The cache holds 6 tokens: an answer that would need more ends there, before `max_length` ' +
        'or `max_new_tokens` is reached.',
    ]);
    const small = generate(hashModel({}, { max_length: 3 }), { input_ids, max_new_tokens: 1 });
    expect(await rejection(small)).toBe(
      'The prompt is longer than the cache can hold: expected at most 3 tokens, found 4 (input_ids)',
    );
  });
});

describe('streamers', () => {
  it('are waited for', async () => {
    let open = 0;
    let most = 0;
    await generate(hashModel({}), {
      input_ids,
      max_new_tokens: 5,
      streamer: {
        async put() {
          most = Math.max(most, ++open);
          await new Promise((resolve) => setTimeout(resolve, 1));
          open--;
        },
        end() {},
      },
    });
    expect(most).toBe(1);
    expect(open).toBe(0);
  });

  it('that define fail get the error, others end', async () => {
    const events: unknown[] = [];
    const error = new Error('mine');
    const options = {
      input_ids,
      max_new_tokens: 5,
      stopping_criteria: () => {
        throw error;
      },
    };
    const put = (): void => {};
    const end = (): void => {
      events.push('end');
    };
    await rejection(generate(hashModel({}), { ...options, streamer: { put, end } }));
    const fail = (reason: unknown): void => {
      events.push(reason);
    };
    await rejection(generate(hashModel({}), { ...options, streamer: { put, end, fail } }));
    expect(events).toEqual(['end', error]);
  });

  it('get padding for rows that have finished', async () => {
    const seen: number[][][] = [];
    await generate(new FakeModel(scriptedLogits(10, 1, [2]), { vocab_size: 10 }), {
      input_ids: [[4], [5]],
      attention_mask: [[1], [1]],
      eos_token_id: 2,
      pad_token_id: 0,
      max_new_tokens: 3,
      stopping_criteria: (ids) => ids.map((_, r) => r === 0),
      streamer: {
        put(value) {
          seen.push(value);
        },
        end() {},
      },
    });
    expect(seen).toEqual([
      [[4], [5]],
      [[2], [2]],
    ]);
  });
});

describe('signal', () => {
  it('that has fired refuses the call before anything is opened', async () => {
    const model = hashModel({});
    const reason = new Error('why');
    const call = generate(model, { input_ids, signal: AbortSignal.abort(reason) });
    await expect(call).rejects.toMatchObject({
      name: 'AbortError',
      code: 'ABORT_ERR',
      cause: reason,
    });
    expect(model.sessions).toEqual([]);
  });

  it.each<[string, Partial<GenerateOptions>]>([
    ['native', {}],
    ['JavaScript', { logits_processor: identity }],
    ['beam search', { num_beams: 3 }],
    ['prompt lookup', { prompt_lookup_num_tokens: 3 }],
  ])('ends the call within a step and frees the cache: %s', async (_, more) => {
    const model = hashModel({});
    const controller = new AbortController();
    let steps = 0;
    const call = generate(model, {
      input_ids,
      max_new_tokens: 100,
      signal: controller.signal,
      stopping_criteria: () => {
        if (++steps === 3) controller.abort();
        return false;
      },
      ...more,
    });
    await expect(call).rejects.toBeInstanceOf(AbortError);
    expect(steps).toBeLessThanOrEqual(4);
    expect(model.session.disposed).toBe(true);
  });
});

describe('output_logprobs', () => {
  it('gives the best k of the distribution the token was chosen from', async () => {
    const output = await generate(hashModel({}), {
      input_ids,
      max_new_tokens: 2,
      output_logprobs: 3,
    });
    const row = rowsOf(output.sequences)[0] as number[];
    const logs = logSoftmax(hashModel().logitsOf(row.slice(0, 4)));
    const [first] = output.logprobs?.[0] ?? [];
    expect(first?.token_id).toBe(row[4]);
    expect(first?.logprob).toBeCloseTo(logs[row[4] as number] as number, 6);
    const best = [...logs.keys()].sort((a, b) => (logs[b] as number) - (logs[a] as number));
    expect(first?.top.map(({ token_id }) => token_id)).toEqual(best.slice(0, 3));
  });

  it('must be a count, and is not for beams', async () => {
    expect(await rejection(generate(hashModel(), { input_ids, output_logprobs: -1 }))).toBe(
      'Expected an integer >= 0 for output_logprobs but received -1 of type number',
    );
    const beams = { input_ids, output_logprobs: 1, num_beams: 2 };
    expect(await rejection(generate(hashModel(), beams))).toBe(
      '`output_logprobs` cannot be used with beam search. Use `output_scores: true` and ' +
        '`compute_transition_scores`',
    );
  });
});

describe('prompts', () => {
  it.each<[unknown, number[][]]>([
    [[1, 5], [[1, 5]]],
    [[[1, 5]], [[1, 5]]],
    [null, [[7]]],
    [[], [[7]]],
  ])('%j is %j', async (prompt, rows) => {
    const model = hashModel({ bos_token_id: 7 });
    const options = { input_ids: prompt as number[], max_new_tokens: 1 };
    const ids: Tensor = await generate(model, options);
    expect(rowsOf(ids).map((row) => row.slice(0, -1))).toEqual(rows);
  });

  it.each<[string, GenerateOptions, string]>([
    ['no bos', {}, '`bos_token_id` has to be defined when no `input_ids` are provided.'],
    [
      'ragged rows',
      { input_ids: [[1, 2], [1]] },
      'The rows of input_ids have different lengths: expected 2, found 1. Pass `padding: true` to ' +
        'the tokenizer, with `padding_side: "left"`',
    ],
    [
      'an id outside the vocabulary',
      { input_ids: [1, 32] },
      'Expected token ids from 0 to 31 for input_ids but received 32 of type number',
    ],
    [
      'a mask of another shape',
      { input_ids: [1, 2], attention_mask: [1] },
      'attention_mask has another shape than input_ids: expected [1, 2], found [1, 1]. ' +
        'Pass both as one call of the tokenizer gave them.',
    ],
    [
      'a row that is all padding',
      { input_ids: [1, 2], attention_mask: [0, 0] },
      'Row 0 of attention_mask is all padding: expected at least one 1',
    ],
    [
      'a configuration that is none',
      { input_ids: [1], generation_config: 3 as unknown as object },
      'Expected a GenerationConfig or an object for generation_config but received 3 of type number',
    ],
  ])('refuses %s', async (_, options, text) => {
    const model = hashModel({});
    expect(await rejection(generate(model, options))).toBe(text);
    expect(model.sessions).toEqual([]);
  });
});

describe('processors during generation', () => {
  it('see all rows at every step, and keep state by row', async () => {
    class Counts extends LogitsProcessor {
      readonly lengths: number[][] = [];
      _call(ids: number[][], scores: Float32Array[]): Float32Array[] {
        this.lengths.push(ids.map((row) => row.length));
        return scores;
      }
    }
    const processor = new Counts();
    await generate(hashModel({ pad_token_id: 0 }), {
      input_ids: [[1], [3]],
      attention_mask: [[1], [1]],
      max_new_tokens: 3,
      logits_processor: [processor],
      stopping_criteria: (ids) => ids.map((_, r) => r === 0),
    });
    expect(processor.lengths).toEqual([
      [1, 1],
      [2, 2],
      [3, 3],
    ]);
  });

  it('that throw reject with their error and free the cache', async () => {
    const model = hashModel({});
    const text = 'mine';
    const call = generate(model, {
      input_ids,
      logits_processor: () => {
        throw new Error(text);
      },
    });
    expect(await rejection(call)).toBe(text);
    expect(model.session.disposed).toBe(true);
  });

  it('that forbid everything say so when sampling', async () => {
    const call = generate(hashModel({}), {
      input_ids,
      do_sample: true,
      suppress_tokens: Array.from({ length: 32 }, (_, id) => id),
    });
    expect(await rejection(call)).toBe(
      'probability tensor contains either `inf`, `nan` or element < 0: found a largest score of ' +
        '-Infinity. The model produced invalid logits, or the processors forbade every token; ' +
        '`remove_invalid_values: true` replaces invalid logits',
    );
  });

  it('may name the tokens allowed', async () => {
    const ids = await generate(hashModel({}), {
      input_ids,
      max_new_tokens: 4,
      prefix_allowed_tokens_fn: (_, row) => [row.length],
    });
    expect(rowsOf(ids)[0]?.slice(4)).toEqual([4, 5, 6, 7]);
  });
});

describe('negative_prompt_ids', () => {
  it('must be one row or one a prompt', async () => {
    const call = generate(hashModel({}), {
      input_ids,
      guidance_scale: 2,
      negative_prompt_ids: [[1], [3]],
    });
    expect(await rejection(call)).toBe(
      'Expected 1 row or 1 rows for negative_prompt_ids but received 2 of type number',
    );
  });
});
