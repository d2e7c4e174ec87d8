/** Where ports of transformers' generation go wrong, 3 to 5: processors. */

import { describe, expect, it } from 'vitest';
import { generate } from '../../../lib/generation/generate.js';
import type { GenerationFields } from '../../../lib/generation/generation-fields.js';
import { LogitsProcessor } from '../../../lib/generation/logits-processor.js';
import { get_logits_processor } from '../../../lib/generation/logits-processor-list.js';
import {
  NoBadWordsLogitsProcessor,
  RepetitionPenaltyLogitsProcessor,
} from '../../../lib/generation/logits-processors.js';
import { TopKLogitsWarper, TopPLogitsWarper } from '../../../lib/generation/logits-warpers.js';
import { MaxLengthCriteria } from '../../../lib/generation/stopping-criteria.js';
import { hashModel } from '../fake-engine.js';
import { collectWarnings } from '../support.js';

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
