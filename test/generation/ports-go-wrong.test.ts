/** One test group for each of the places where ports of transformers' generation go wrong. */

import { describe, expect, it } from 'vitest';
import { GenerationConfig } from '../../lib/generation/configuration.js';
import { generate } from '../../lib/generation/generate.js';
import type { GenerationFields } from '../../lib/generation/generation-fields.js';
import { LogitsProcessor } from '../../lib/generation/logits-processor.js';
import { get_logits_processor } from '../../lib/generation/logits-processor-list.js';
import {
  NoBadWordsLogitsProcessor,
  RepetitionPenaltyLogitsProcessor,
} from '../../lib/generation/logits-processors.js';
import { TopKLogitsWarper, TopPLogitsWarper } from '../../lib/generation/logits-warpers.js';
import { compute_transition_scores } from '../../lib/generation/output.js';
import { StopStringCriteria } from '../../lib/generation/stop-strings.js';
import {
  MaxLengthCriteria,
  StoppingCriteria,
  StoppingCriteriaList,
} from '../../lib/generation/stopping-criteria.js';
import { FakeModel, hashModel, scriptedLogits } from './fake-engine.js';
import { byteFallbackTokenizer } from './fake-tokenizer.js';
import { collectWarnings, messageOf, rejection, rowsOf } from './support.js';

const warnings = collectWarnings();
const input_ids = [[1, 5, 9]];

/** Names of the processors a configuration makes. */
function names(config: GenerationFields, logits_processor?: LogitsProcessor[]): string[] {
  const list = get_logits_processor(config, {
    input_ids_seq_length: 3,
    eos_token_id: 2,
    logits_processor,
  });
  return [...list].map((p) => p.constructor.name);
}

/** Ids that survive. */
function kept(scores: Float32Array | undefined): number[] {
  return [...(scores ?? [])].flatMap((x, id) => (x === Number.NEGATIVE_INFINITY ? [] : [id]));
}

describe('1. unset is null, and who wins over whom', () => {
  it('leaves every field null', () => {
    const config = new GenerationConfig();
    expect(new Set(Object.values(config))).toEqual(new Set([null]));
  });

  it('samples with top_k 50 for { do_sample: true } alone', async () => {
    expect(names({ do_sample: true })).toEqual(['TopKLogitsWarper']);
    const model = hashModel();
    await generate(model, { input_ids, do_sample: true, max_new_tokens: 1 });
    expect(model.session.requests[0]?.sampling).toEqual({
      do_sample: true,
      temperature: 1,
      top_k: 50,
      top_p: 1,
      min_p: 0,
      typical_p: 1,
      repetition_penalty: 1,
      min_new_tokens: 0,
    });
  });

  it("puts the call's fields over generation_config over the model's over the defaults", async () => {
    const model = hashModel({ eos_token_id: 2, do_sample: true, top_k: 7, top_p: 0.7, min_p: 0.1 });
    await generate(model, {
      input_ids,
      max_new_tokens: 1,
      generation_config: { top_k: 8, top_p: 0.8 },
      top_k: 9,
    });
    expect(model.session.requests[0]?.sampling).toMatchObject({
      top_k: 9,
      top_p: 0.8,
      min_p: 0.1,
      temperature: 1,
    });
  });

  it("fills only nulls from the model's configuration", async () => {
    const model = hashModel({ eos_token_id: 2, do_sample: true, temperature: 0.5 });
    const generation_config = new GenerationConfig({ temperature: null, max_new_tokens: 1 });
    await generate(model, { input_ids, generation_config });
    expect(model.session.requests[0]?.sampling.temperature).toBe(0.5);
  });

  it('switches a field off that is null in the call', async () => {
    const model = hashModel({ eos_token_id: 2, do_sample: true, top_k: 7 });
    await generate(model, { input_ids, max_new_tokens: 4, top_k: null, eos_token_id: null });
    expect(model.session.requests[0]).toMatchObject({ eos_token_ids: [], sampling: { top_k: 0 } });
  });
});

describe('2. conflicts of options', () => {
  it('takes the field beside a configuration, with one warning', async () => {
    const generation_config = new GenerationConfig({ max_new_tokens: 3, eos_token_id: 31 });
    const model = hashModel({});
    const options = { input_ids, generation_config, max_new_tokens: 5 };
    expect((await generate(model, options)).dims).toEqual([1, 8]);
    await generate(model, options);
    expect(warnings).toEqual([
      "Passing `generation_config` together with generation-related arguments=({'max_new_tokens'}) " +
        'is deprecated and will be removed in future versions. Please pass either a ' +
        '`generation_config` object OR all generation parameters explicitly, but not both.',
    ]);
  });

  it('ignores early_stopping without beams, with one warning', async () => {
    const generation_config = new GenerationConfig({ early_stopping: true, max_new_tokens: 2 });
    await generate(hashModel({}), { input_ids, generation_config });
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toBe(
      "The following generation flags are not valid and may be ignored: ['early_stopping'].\n" +
        '- `early_stopping`: `num_beams` is set to 1. However, `early_stopping` is set to `true` ' +
        '-- this flag is only used in beam-based generation modes. You should set `num_beams > 1` ' +
        "or unset `early_stopping`.\nIf you're using a pretrained model, note that some of these " +
        "attributes may be set through the model's `generation_config.json` file.",
    );
  });

  it('lets max_new_tokens win over max_length, with a warning', async () => {
    const ids = await generate(hashModel({}), { input_ids, max_length: 9, max_new_tokens: 2 });
    expect(ids.dims).toEqual([1, 5]);
    expect(warnings).toEqual([
      'Both `max_new_tokens` (=2) and `max_length`(=9) seem to have been set. `max_new_tokens` ' +
        'will take precedence. Please refer to the documentation for more information. ' +
        '(https://huggingface.co/docs/transformers/main/en/main_classes/text_generation)',
    ]);
  });

  it('generates 20 new tokens where neither is set', async () => {
    expect((await generate(hashModel({}), { input_ids })).dims).toEqual([1, 23]);
    expect(warnings).toEqual([
      'Using the model-agnostic default `max_length` (=23) to control the generation length. We ' +
        'recommend setting `max_new_tokens` to control the maximum length of the generation.',
    ]);
  });

  it('refuses a prompt as long as max_length', async () => {
    expect(await rejection(generate(hashModel(), { input_ids, max_length: 3 }))).toBe(
      'Input length of input_ids is 3, but `max_length` is set to 3. This can lead to unexpected ' +
        'behavior. You should consider increasing `max_length` or, better yet, setting ' +
        '`max_new_tokens`.',
    );
  });

  it.each([0, -4])('refuses max_new_tokens %i', async (max_new_tokens) => {
    const text = `\`max_new_tokens\` must be greater than 0, but is ${max_new_tokens}.`;
    expect(messageOf(() => new GenerationConfig({ max_new_tokens }))).toBe(text);
    expect(await rejection(generate(hashModel(), { input_ids, max_new_tokens }))).toBe(text);
  });

  it('refuses temperature 0 and says do_sample: false', async () => {
    const options = { input_ids, do_sample: true, temperature: 0 };
    expect(await rejection(generate(hashModel(), options))).toBe(
      '`temperature` (=0) has to be a strictly positive float, otherwise your next token scores ' +
        "will be invalid. If you're looking for greedy decoding strategies, set " +
        '`do_sample: false`.',
    );
  });

  it('refuses several return sequences from greedy decoding, or more than beams', async () => {
    expect(await rejection(generate(hashModel(), { input_ids, num_return_sequences: 2 }))).toBe(
      'Greedy methods (do_sample != true) without beam search do not support ' +
        '`num_return_sequences` different than 1 (got 2).',
    );
    const beams = { input_ids, num_beams: 2, num_return_sequences: 3 };
    expect(await rejection(generate(hashModel(), beams))).toBe(
      '`num_return_sequences` (3) has to be smaller or equal to `num_beams` (2).',
    );
  });
});

describe('3. the order of processors', () => {
  class Custom extends LogitsProcessor {
    _call(_: number[][], scores: Float32Array[]): Float32Array[] {
      return scores;
    }
  }

  it("has the user's after the constraints, then warpers, then the normalisation", () => {
    const config: GenerationFields = {
      do_sample: true,
      sequence_bias: [[[7], 1]],
      repetition_penalty: 1.2,
      no_repeat_ngram_size: 2,
      bad_words_ids: [[3]],
      min_length: 2,
      min_new_tokens: 1,
      forced_bos_token_id: 1,
      forced_eos_token_id: 2,
      remove_invalid_values: true,
      exponential_decay_length_penalty: [1, 1.1],
      suppress_tokens: [4],
      begin_suppress_tokens: [5],
      temperature: 0.9,
      top_h: 0.5,
      top_k: 10,
      top_p: 0.9,
      min_p: 0.1,
      typical_p: 0.9,
      epsilon_cutoff: 0.01,
      eta_cutoff: 0.01,
      renormalize_logits: true,
    };
    expect(names(config, [new Custom()])).toEqual([
      'SequenceBiasLogitsProcessor',
      'RepetitionPenaltyLogitsProcessor',
      'NoRepeatNGramLogitsProcessor',
      'NoBadWordsLogitsProcessor',
      'MinLengthLogitsProcessor',
      'MinNewTokensLengthLogitsProcessor',
      'ForcedBOSTokenLogitsProcessor',
      'ForcedEOSTokenLogitsProcessor',
      'InfNanRemoveLogitsProcessor',
      'ExponentialDecayLengthPenalty',
      'SuppressTokensLogitsProcessor',
      'SuppressTokensAtBeginLogitsProcessor',
      'Custom',
      'TemperatureLogitsWarper',
      'TopHLogitsWarper',
      'TopKLogitsWarper',
      'TopPLogitsWarper',
      'MinPLogitsWarper',
      'TypicalLogitsWarper',
      'EpsilonLogitsWarper',
      'EtaLogitsWarper',
      'LogitNormalization',
    ]);
  });

  it('has guidance first', () => {
    const list = get_logits_processor(
      { guidance_scale: 2, repetition_penalty: 1.1 },
      { input_ids_seq_length: 3, guidance: new Custom() },
    );
    expect([...list].map((p) => p.constructor.name)).toEqual([
      'Custom',
      'RepetitionPenaltyLogitsProcessor',
    ]);
  });

  it('runs no warper without do_sample', () => {
    expect(names({ temperature: 0.5, top_p: 0.5, repetition_penalty: 1.1 })).toEqual([
      'RepetitionPenaltyLogitsProcessor',
    ]);
  });

  it("puts a user's processor of a built-in class in its place, with a warning", () => {
    const own = new RepetitionPenaltyLogitsProcessor(3);
    const list = get_logits_processor(
      { repetition_penalty: 1.2, suppress_tokens: [3] },
      { input_ids_seq_length: 3, logits_processor: [own] },
    );
    expect(list.at(0)).toBe(own);
    expect(list.length).toBe(2);
    expect(warnings).toEqual([
      'A custom logits processor of type RepetitionPenaltyLogitsProcessor has been passed to ' +
        '`.generate()`, but it was also created in `.generate()`, given its parameterization. The ' +
        'custom RepetitionPenaltyLogitsProcessor will take precedence. Please check the docstring ' +
        'of RepetitionPenaltyLogitsProcessor to see related `.generate()` flags.',
    ]);
  });

  it("puts a user's criterion of a built-in class in its place, with a warning", async () => {
    const stopping_criteria = [new MaxLengthCriteria(5)];
    const ids = await generate(hashModel({}), { input_ids, max_length: 9, stopping_criteria });
    expect(ids.dims).toEqual([1, 5]);
    expect(warnings[0]).toContain('A custom stopping criteria of type MaxLengthCriteria has been');
  });

  it('keeps scores float32', () => {
    const [scores] = get_logits_processor(
      { do_sample: true, temperature: 0.7, top_k: 0 },
      { input_ids_seq_length: 1 },
    )([[1]], [Float32Array.of(1, 2, 3)]);
    expect(scores).toBeInstanceOf(Float32Array);
    expect(scores?.[0]).toBe(Math.fround(1 / Math.fround(0.7)));
  });
});

describe('4. top_k and top_p at their edges', () => {
  const logits = (): Float32Array => Float32Array.from([0.3, 0.1, 0.1, 0.5], Math.log);

  it('keeps ties with the k-th', () => {
    const [scores] = new TopKLogitsWarper(2)([[1]], [Float32Array.of(1, 3, 2, 2, 0)]);
    expect(kept(scores)).toEqual([1, 2, 3]);
  });

  it('switches top_k off at 0', () => {
    expect(names({ do_sample: true, top_k: 0 })).toEqual([]);
  });

  it.each([
    [0.8, [0, 3]],
    [0.81, [0, 2, 3]],
    [0.5, [3]],
    [0, [3]],
  ])('keeps with top_p %f the tokens %j', (top_p, expected) => {
    const [scores] = new TopPLogitsWarper(top_p)([[1]], [logits()]);
    expect(kept(scores)).toEqual(expected);
  });

  it('keeps one token, and with beam sampling one more than there are end tokens', () => {
    const config = { do_sample: true, top_k: 1, top_p: 0.01, num_beams: 2 };
    const row = (): Float32Array => Float32Array.of(5, 4, 3, 2, 1);
    const run = (fields: GenerationFields, eos: number[]): number[] =>
      kept(
        get_logits_processor(fields, { input_ids_seq_length: 1, eos_token_id: eos })(
          [[1]],
          [row()],
        )[0],
      );
    expect(run({ ...config, num_beams: 1 }, [2])).toEqual([0]);
    expect(run(config, [2])).toEqual([0, 1]);
    expect(run(config, [2, 3])).toEqual([0, 1, 2]);
  });
});

describe('5. repetition and bad words', () => {
  it('penalises each distinct token once, the prompt included', () => {
    const penalise = new RepetitionPenaltyLogitsProcessor(2);
    const [scores] = penalise([[0, 1, 1, 0, 1]], [Float32Array.of(-1, 4, 3)]);
    expect([...(scores ?? [])]).toEqual([-2, 2, 3]);
  });

  it('drops a bad word that is exactly an end token', () => {
    const processor = new NoBadWordsLogitsProcessor([[2], [3], [4, 0]], [2, 4]);
    const [scores] = processor([[4]], [new Float32Array(6)]);
    expect(kept(scores)).toEqual([1, 2, 4, 5]);
  });
});

describe('6. end tokens and padding of finished rows', () => {
  // Rows that begin with 5 end after one token, the others after three.
  const logitsOf = (ids: readonly number[]): Float32Array => {
    const logits = new Float32Array(10);
    logits[ids[0] === 5 ? 7 : ids.length === 4 ? 8 : 3] = 1;
    return logits;
  };
  const prompts = [
    [5, 6],
    [4, 6],
  ];
  const options = { input_ids: prompts, attention_mask: prompts.map(() => [1, 1]) };

  it('takes one id or a list', async () => {
    const one = { ...options, max_new_tokens: 4, eos_token_id: 7 };
    expect(rowsOf(await generate(new FakeModel(logitsOf, { vocab_size: 10 }), one))).toEqual([
      [5, 6, 7, 7, 7, 7],
      [4, 6, 3, 3, 8, 3],
    ]);
    const list = { ...options, max_new_tokens: 4, eos_token_id: [8, 7] };
    expect(rowsOf(await generate(new FakeModel(logitsOf, { vocab_size: 10 }), list))).toEqual([
      [5, 6, 7, 8, 8],
      [4, 6, 3, 3, 8],
    ]);
  });

  it.each([true, false])('fills with pad while others go on (native: %s)', async (native) => {
    const model = new FakeModel(logitsOf, { vocab_size: 10 });
    const rows = rowsOf(
      await generate(model, {
        ...options,
        max_new_tokens: 4,
        eos_token_id: [8, 7],
        pad_token_id: 0,
        logits_processor: native ? [] : [(_, scores) => scores],
      }),
    );
    expect(rows).toEqual([
      [5, 6, 7, 0, 0],
      [4, 6, 3, 3, 8],
    ]);
    expect(model.session.calls.decode).toBe(native ? 1 : 0);
  });
});

describe('7. attention masks', () => {
  const padded = [
    [0, 0, 1, 7],
    [1, 3, 8, 4],
  ];
  const pad = { pad_token_id: 0, eos_token_id: 2, max_new_tokens: 6 };

  it('infers the mask from padding that is no end token', async () => {
    const alone = rowsOf(await generate(hashModel(), { input_ids: [[1, 7]], ...pad }))[0];
    const rows = rowsOf(await generate(hashModel(), { input_ids: padded, ...pad }));
    expect(rows[0]?.slice(2, 2 + (alone?.length ?? 0))).toEqual(alone);
  });

  it('takes everything for text where padding is an end token, and says so', async () => {
    const model = hashModel();
    await generate(model, { input_ids: padded, ...pad, eos_token_id: 0 });
    expect(model.session.requests[0]?.rows.map((row) => [...row.tokens])).toEqual(padded);
    expect(warnings).toEqual([
      'The attention mask is not set with a batched input, and cannot be inferred from input ' +
        'because pad token is same as eos token. As a consequence, you may observe unexpected ' +
        "behavior. Please pass your input's `attention_mask` to obtain reliable results.",
    ]);
  });

  it('warns about a batch with neither mask nor padding token', async () => {
    await generate(hashModel(), { input_ids: padded, max_new_tokens: 2 });
    expect(warnings[0]).toBe(
      'The attention mask and the pad token id were not set, with a batched input. As a ' +
        "consequence, you may observe unexpected behavior. Please pass your input's " +
        '`attention_mask` to obtain reliable results.',
    );
  });

  it.each([
    ['greedy', {}],
    ['with penalties', { repetition_penalty: 1.5, no_repeat_ngram_size: 2 }],
    ['sampled', { do_sample: true, seed: 5, repetition_penalty: 1.5 }],
  ])('answers a left-padded row as alone: %s', async (_, more) => {
    const attention_mask = [
      [0, 0, 1, 1],
      [1, 1, 1, 1],
    ];
    const options = { max_new_tokens: 8, pad_token_id: 0, ...more };
    const batch = rowsOf(
      await generate(hashModel({}), { input_ids: padded, attention_mask, ...options }),
    );
    for (const [r, prompt] of [
      [1, 7],
      [1, 3, 8, 4],
    ].entries()) {
      const [alone] = rowsOf(await generate(hashModel({}), { input_ids: [prompt], ...options }));
      expect(batch[r]?.slice(4)).toEqual(alone?.slice(prompt.length));
    }
  });

  it('warns about right padding with more than one row', async () => {
    const text =
      'A decoder-only architecture is being used, but right-padding was detected! For correct ' +
      "generation results, please set `padding_side='left'` when initializing the tokenizer.";
    const right = [
      [1, 7, 0, 0],
      [1, 3, 8, 4],
    ];
    await generate(hashModel(), { input_ids: right, ...pad });
    expect(warnings).toEqual([text]);
    warnings.length = 0;
    await generate(hashModel(), { input_ids: right.slice(0, 1), ...pad });
    expect(warnings).toEqual([]);
  });
});

describe('8. stopping criteria', () => {
  const prompts = [
    [1, 5],
    [1, 6],
  ];
  const options = { input_ids: prompts, attention_mask: prompts.map(() => [1, 1]) };

  it.each([true, false])('see full ids after each append (native: %s)', async (native) => {
    const seen: number[][][] = [];
    const rows = rowsOf(
      await generate(hashModel({}), {
        ...options,
        max_new_tokens: 3,
        stopping_criteria: (ids, scores) => {
          seen.push(ids.map((row) => [...row]));
          expect(scores).toBeNull();
          return false;
        },
        logits_processor: native ? [] : [(_, scores) => scores],
      }),
    );
    expect(seen).toEqual([3, 4, 5].map((length) => rows.map((row) => row.slice(0, length))));
  });

  it.each([true, false])('are OR-ed row by row (native: %s)', async (native) => {
    class First extends StoppingCriteria {
      _call(ids: number[][]): boolean[] {
        return ids.map((row, r) => r === 0 && row.length >= 4);
      }
    }
    const rows = rowsOf(
      await generate(hashModel({ pad_token_id: 0 }), {
        ...options,
        max_new_tokens: 9,
        stopping_criteria: new StoppingCriteriaList([
          new First(),
          (ids) => ids.map((row, r) => r === 1 && row.length >= 6),
        ]),
        logits_processor: native ? [] : [(_, scores) => scores],
      }),
    );
    expect(rows.map((row) => row.length)).toEqual([6, 6]);
    expect(rows[0]?.slice(4)).toEqual([0, 0]);
  });

  it('get the scores with return_dict_in_generate and output_scores only', async () => {
    const seen: unknown[] = [];
    const stopping_criteria: StoppingCriteria[] = [];
    const look = (
      _: number[][],
      scores: readonly { dims: readonly number[] }[] | null,
    ): boolean => {
      seen.push(scores?.map((step) => step.dims) ?? null);
      return false;
    };
    const base = { ...options, max_new_tokens: 2, stopping_criteria: [look, ...stopping_criteria] };
    await generate(hashModel({}), { ...base, output_scores: true });
    await generate(hashModel({}), { ...base, return_dict_in_generate: true });
    await generate(hashModel({}), { ...base, return_dict_in_generate: true, output_scores: true });
    expect(seen).toEqual([
      null,
      null,
      null,
      null,
      [[2, 32]],
      [
        [2, 32],
        [2, 32],
      ],
    ]);
  });
});

describe('9. stop strings', () => {
  it('need the tokenizer', async () => {
    expect(await rejection(generate(hashModel(), { input_ids, stop_strings: '###' }))).toBe(
      'There are one or more stop strings, either in the arguments to `generate` or in the ' +
        "model's generation config, but we could not locate a tokenizer. When generating with " +
        "stop strings, you must pass the model's tokenizer to the `tokenizer` argument of " +
        '`generate`.',
    );
  });

  it('match text whatever its tokens, and stay in the output', async () => {
    const tokenizer = byteFallbackTokenizer(['###', '##', '#', '\n', 'a', ' b']);
    const ids = (...tokens: string[]): number[] => tokens.map((t) => tokenizer.id(t));
    const criterion = new StopStringCriteria(tokenizer, '###');
    expect(criterion([ids('a', '###')], null)).toEqual([true]);
    expect(criterion([ids('\n', '##', '#')], null)).toEqual([true]);
    expect(criterion([ids('a', '##', ' b')], null)).toEqual([false]);

    const vocab_size = tokenizer.size;
    const prompt = ids('a');
    const model = new FakeModel(scriptedLogits(vocab_size, 1, ids('\n', '##', '#', 'a')), {
      vocab_size,
    });
    const out = await generate(model, {
      input_ids: prompt,
      stop_strings: ['###'],
      tokenizer,
      max_new_tokens: 9,
    });
    expect(rowsOf(out)).toEqual([ids('a', '\n', '##', '#')]);
  });

  it('match the bytes of a syllable that is three tokens', () => {
    const tokenizer = byteFallbackTokenizer(['a']);
    const criterion = new StopStringCriteria(tokenizer, '예');
    const [x, y, z] = [...Buffer.from('예')].map((byte) => tokenizer.byteId(byte));
    const a = tokenizer.id('a');
    expect(criterion([[a, x, y] as number[]], null)).toEqual([false]);
    expect(criterion([[a, x, y, z] as number[]], null)).toEqual([true]);
    expect(criterion([[a, x, y, z, a] as number[]], null)).toEqual([false]);
  });
});

describe('10. beams', () => {
  // transformers' own answers are held by table-model.test.ts.
  it('score sums of log-probabilities over length to the power of length_penalty', async () => {
    const output = await generate(hashModel(), {
      input_ids,
      num_beams: 3,
      num_return_sequences: 3,
      length_penalty: 1.5,
      max_new_tokens: 5,
      return_dict_in_generate: true,
      output_scores: true,
    });
    const transitions = compute_transition_scores(
      output.sequences,
      output.scores ?? [],
      output.beam_indices,
    );
    const beams = output.beam_indices?.tolist() as number[][];
    (transitions.tolist() as number[][]).forEach((row, r) => {
      const length = beams[r]?.filter((beam) => beam >= 0).length as number;
      const sum = row.reduce((a, b) => a + b, 0);
      const score = Number(output.sequences_scores?.data[r]);
      expect(score).toBeCloseTo(sum / length ** 1.5, 4);
    });
  });
});

describe('11. streamers', () => {
  class Recorder {
    readonly events: unknown[] = [];
    put(value: number[][]): void {
      this.events.push(value.map((row) => [...row]));
    }
    end(): void {
      this.events.push('end');
    }
  }

  it.each([true, false])('get the prompt, each token, and the end (native: %s)', async (native) => {
    const streamer = new Recorder();
    const [row] = rowsOf(
      await generate(hashModel({}), {
        input_ids,
        max_new_tokens: 3,
        streamer,
        logits_processor: native ? [] : [(_, scores) => scores],
      }),
    );
    const [a, b, c] = (row as number[]).slice(3);
    expect(streamer.events).toEqual([input_ids, [[a]], [[b]], [[c]], 'end']);
  });

  it('are refused with beams', async () => {
    const streamer = new Recorder();
    expect(await rejection(generate(hashModel(), { input_ids, num_beams: 2, streamer }))).toBe(
      '`streamer` cannot be used with beam search (yet!). Make sure that `num_beams` is set to 1.',
    );
    expect(streamer.events).toEqual([]);
  });

  it('may refuse more than one row themselves; everything is released', async () => {
    const model = hashModel();
    const streamer = new Recorder();
    streamer.put = () => {
      throw new Error('TextStreamer only supports batch size 1');
    };
    const batch = [
      [1, 5],
      [1, 6],
    ];
    const call = generate(model, { input_ids: batch, streamer, attention_mask: batch });
    expect(await rejection(call)).toBe('TextStreamer only supports batch size 1');
    expect(model.session.disposed).toBe(true);
  });
});

describe('12. the result as an object', () => {
  it('has sequences, scores and logits of every step', async () => {
    const output = await generate(hashModel({}), {
      input_ids,
      max_new_tokens: 3,
      repetition_penalty: 2,
      return_dict_in_generate: true,
      output_scores: true,
      output_logits: true,
    });
    expect(output.sequences.dims).toEqual([1, 6]);
    expect(output.scores?.map((step) => step.dims)).toEqual([
      [1, 32],
      [1, 32],
      [1, 32],
    ]);
    expect(output.logits?.map((step) => step.dims)).toEqual([
      [1, 32],
      [1, 32],
      [1, 32],
    ]);
    const [raw, processed] = [output.logits?.[0]?.data, output.scores?.[0]?.data];
    expect(processed?.[5]).toBe(
      new RepetitionPenaltyLogitsProcessor(2)(input_ids, [raw as Float32Array])[0]?.[5],
    );
    expect(output.sequences_scores).toBeNull();
    expect(output.beam_indices).toBeNull();
  });

  it('has sequences_scores and beam_indices under beam search', async () => {
    const output = await generate(hashModel({}), {
      input_ids,
      max_new_tokens: 3,
      num_beams: 2,
      num_return_sequences: 2,
      return_dict_in_generate: true,
      output_scores: true,
    });
    expect(output.sequences_scores?.dims).toEqual([2]);
    expect(output.beam_indices?.dims).toEqual([2, 3]);
    expect(output.scores?.map((step) => step.dims)).toEqual([
      [2, 32],
      [2, 32],
      [2, 32],
    ]);
  });

  it('has transition scores that are the chosen tokens’ scores', async () => {
    const output = await generate(hashModel({}), {
      input_ids,
      max_new_tokens: 3,
      return_dict_in_generate: true,
      output_scores: true,
    });
    const transitions = compute_transition_scores(output.sequences, output.scores ?? []);
    const chosen = rowsOf(output.sequences)[0]?.slice(3) as number[];
    expect(transitions.tolist()).toEqual([
      chosen.map((id, step) => output.scores?.[step]?.data[id]),
    ]);
  });
});
