import { describe, expect, it } from 'vitest';
import { FLOAT32_MAX, kthLargest, topK } from '../../lib/generation/float32.js';
import {
  LogitsProcessor,
  LogitsProcessorList,
  toLogitsProcessorList,
} from '../../lib/generation/logits-processor.js';
import { get_logits_processor } from '../../lib/generation/logits-processor-list.js';
import * as P from '../../lib/generation/logits-processors.js';
import * as W from '../../lib/generation/logits-warpers.js';
import { collectWarnings, messageOf } from './support.js';

const warnings = collectWarnings();
const none = Number.NEGATIVE_INFINITY;

/** One row through a processor. */
function run(processor: LogitsProcessor, ids: number[], scores: number[]): number[] {
  const given = Float32Array.from(scores);
  const [out] = processor([ids], [given]);
  expect([...given]).toEqual([...Float32Array.from(scores)]);
  return [...(out as Float32Array)];
}

describe('constraints', () => {
  it('MinLength holds end tokens back until the length', () => {
    const p = new P.MinLengthLogitsProcessor(3, [1, 2]);
    expect(run(p, [0, 0], [5, 6, 7])).toEqual([5, none, none]);
    expect(run(p, [0, 0, 0], [5, 6, 7])).toEqual([5, 6, 7]);
  });

  it('MinNewTokens counts after the prompt', () => {
    const p = new P.MinNewTokensLengthLogitsProcessor(2, 1, 0);
    expect(run(p, [0, 0], [5, 6])).toEqual([none, 6]);
    expect(run(p, [0, 0, 0], [5, 6])).toEqual([5, 6]);
  });

  it('ForcedBOS works on prompts of one token only', () => {
    const p = new P.ForcedBOSTokenLogitsProcessor(1);
    expect(run(p, [4], [5, 6, 7])).toEqual([none, 0, none]);
    expect(run(p, [4, 4], [5, 6, 7])).toEqual([5, 6, 7]);
  });

  it('ForcedEOS works at the last place', () => {
    const p = new P.ForcedEOSTokenLogitsProcessor(3, [0, 2]);
    expect(run(p, [4], [5, 6, 7])).toEqual([5, 6, 7]);
    expect(run(p, [4, 4], [5, 6, 7])).toEqual([0, none, 0]);
  });

  it('InfNanRemove replaces what is not finite', () => {
    const p = new P.InfNanRemoveLogitsProcessor();
    expect(run(p, [0], [Number.NaN, Number.POSITIVE_INFINITY, none, 3])).toEqual([
      0,
      FLOAT32_MAX,
      -FLOAT32_MAX,
      3,
    ]);
  });

  it('ExponentialDecay raises the end token beyond its start', () => {
    const p = new P.ExponentialDecayLengthPenalty([1, 1.5], 1, 2);
    expect(run(p, [0, 0, 0], [1, -2])).toEqual([1, -2]);
    expect(run(p, [0, 0, 0, 0, 0], [1, -2])).toEqual([1, -2 + 2 * (1.5 ** 2 - 1)]);
  });

  it('SuppressTokens always, AtBegin once', () => {
    expect(run(new P.SuppressTokensLogitsProcessor([0, 9]), [0], [1, 2])).toEqual([none, 2]);
    const begin = new P.SuppressTokensAtBeginLogitsProcessor([1], 2);
    expect(run(begin, [0, 0], [1, 2])).toEqual([1, none]);
    expect(run(begin, [0, 0, 0], [1, 2])).toEqual([1, 2]);
  });

  it('AtBegin comes after a forced first token', () => {
    const list = get_logits_processor(
      { forced_bos_token_id: 3, begin_suppress_tokens: [1] },
      { input_ids_seq_length: 1 },
    );
    expect((list.at(1) as P.SuppressTokensAtBeginLogitsProcessor).begin_index).toBe(2);
  });

  it('NoRepeatNGram forbids what would repeat', () => {
    const p = new P.NoRepeatNGramLogitsProcessor(2);
    expect(run(p, [1, 2, 3, 1, 0, 1], [0, 0, 0, 0])).toEqual([none, 0, none, 0]);
    expect(run(new P.NoRepeatNGramLogitsProcessor(1), [1], [0, 0])).toEqual([0, none]);
    expect(run(new P.NoRepeatNGramLogitsProcessor(3), [1], [0, 0])).toEqual([0, 0]);
  });

  it('content-based processors skip left padding', () => {
    const padded = new P.RepetitionPenaltyLogitsProcessor(2, null, [2]);
    expect(run(padded, [0, 0, 1], [4, 4])).toEqual([4, 2]);
    const ngram = new P.NoRepeatNGramLogitsProcessor(2, [2]);
    expect(run(ngram, [1, 0, 1], [4, 4])).toEqual([4, 4]);
  });

  it('SequenceBias looks at the tokens before', () => {
    const p = new P.SequenceBiasLogitsProcessor([
      [[0], 1],
      [[2, 1], -3],
      [[3, 3, 3, 1], 9],
    ]);
    expect(run(p, [2], [5, 5, 5, 5])).toEqual([6, 2, 5, 5]);
    expect(run(p, [1], [5, 5, 5, 5])).toEqual([6, 5, 5, 5]);
  });

  it('EncoderRepetitionPenalty favours the prompt', () => {
    const p = new P.EncoderRepetitionPenaltyLogitsProcessor(2, [[1]]);
    expect(run(p, [1, 0], [4, 4])).toEqual([4, 8]);
    const list = get_logits_processor(
      { encoder_repetition_penalty: 2 },
      { input_ids_seq_length: 1 },
    );
    expect(list.length).toBe(0);
    expect(warnings).toEqual([
      'Passing `encoder_repetition_penalty` requires some form of `input_ids` to be passed to ' +
        '`generate`, ignoring the argument.',
    ]);
  });

  it('PrefixConstrained allows what the function names', () => {
    const seen: [number, number[]][] = [];
    const p = new P.PrefixConstrainedLogitsProcessor((batch, ids) => {
      seen.push([batch, ids]);
      return batch === 0 ? [1] : [];
    }, 2);
    const rows = [Float32Array.of(1, 2), Float32Array.of(3, 4)];
    expect(p([[7], [8]], rows).map((row) => [...row])).toEqual([
      [none, 2],
      [none, 4],
    ]);
    expect(seen).toEqual([
      [0, [7]],
      [0, [8]],
    ]);
    expect(messageOf(() => p([[7], [8], [9]], [...rows, ...rows].slice(0, 3)))).toBe(
      '`prefix_allowed_tokens_fn` returned an empty list for batch ID 1. This means that the ' +
        'constraint is unsatisfiable. Please check your implementation of ' +
        '`prefix_allowed_tokens_fn`',
    );
  });
});

describe('errors of arguments', () => {
  it.each<[() => unknown, string]>([
    [
      () => new W.TemperatureLogitsWarper(-1),
      '`temperature` (=-1) has to be a strictly positive float, otherwise your next token scores ' +
        'will be invalid.',
    ],
    [() => new W.TopKLogitsWarper(-1), '`top_k` has to be a strictly positive integer, but is -1'],
    [() => new W.TopPLogitsWarper(1.5), '`top_p` has to be a float > 0 and < 1, but is 1.5'],
    [
      () => new W.TopPLogitsWarper(0.5, none, 0),
      '`min_tokens_to_keep` has to be a positive integer, but is 0',
    ],
    [() => new W.MinPLogitsWarper(2), '`min_p` has to be a float in the [0, 1] interval, but is 2'],
    [() => new W.TopHLogitsWarper(0), '`top_h` must be in the range (0, 1].'],
    [() => new W.TypicalLogitsWarper(1), '`typical_p` has to be a float > 0 and < 1, but is 1'],
    [
      () => new W.EpsilonLogitsWarper(0),
      '`epsilon_cutoff` has to be a float > 0 and < 1, but is 0',
    ],
    [() => new W.EtaLogitsWarper(1), '`eta_cutoff` has to be a float > 0 and < 1, but is 1'],
    [
      () => new P.MinLengthLogitsProcessor(-1, 2),
      '`min_length` has to be a non-negative integer, but is -1',
    ],
    [
      () => new P.MinNewTokensLengthLogitsProcessor(0, -1, 2),
      '`min_new_tokens` has to be a positive integer, but is -1',
    ],
    [
      () => new P.RepetitionPenaltyLogitsProcessor(0),
      '`penalty` has to be a strictly positive float, but is 0',
    ],
    [
      () => new P.RepetitionPenaltyLogitsProcessor(1.1, -1),
      '`prompt_ignore_length` has to be a positive integer, but is -1',
    ],
    [
      () => new P.NoRepeatNGramLogitsProcessor(0.5),
      '`ngram_size` has to be a strictly positive integer, but is 0.5 (no_repeat_ngram_size)',
    ],
    [
      () => new P.SequenceBiasLogitsProcessor([]),
      '`sequence_bias` has to be a non-empty dictionary, or non-empty list of lists but is [].',
    ],
    [
      () => new P.SequenceBiasLogitsProcessor([[[-1], 2]]),
      'Each element in `sequence_bias` has to be a non-empty list of lists of positive integers ' +
        'and float, but is [[[-1],2]].',
    ],
    [
      () => new P.SequenceBiasLogitsProcessor([[[9], 2]])([[1]], [new Float32Array(4)]),
      'The model vocabulary size is 4, but the following tokens were being biased: [9] ' +
        '(SequenceBiasLogitsProcessor)',
    ],
    [
      () => new P.NoBadWordsLogitsProcessor([]),
      '`bad_words_ids` has to be a non-empty list, but is [].',
    ],
    [
      () => new P.NoBadWordsLogitsProcessor([3 as unknown as number[]]),
      '`bad_words_ids` has to be a list of lists, but is [3].',
    ],
    [
      () => new P.NoBadWordsLogitsProcessor([[-3]]),
      'Each list in `bad_words_ids` has to be a list of positive integers, but is [[-3]].',
    ],
    [
      () => new P.ForcedEOSTokenLogitsProcessor(3, [-1]),
      '`eos_token_id` has to be a list of positive integers, but is [-1]',
    ],
    [
      () =>
        get_logits_processor(
          { exponential_decay_length_penalty: [1, 2] },
          { input_ids_seq_length: 1 },
        ),
      '`exponential_decay_length_penalty` needs an `eos_token_id`',
    ],
    [
      () => get_logits_processor({ guidance_scale: 2 }, { input_ids_seq_length: 1 }),
      '`guidance_scale` needs the model. Pass it to generate',
    ],
    [
      () => get_logits_processor({ do_sample: true, top_p: 1.5 }, { input_ids_seq_length: 1 }),
      '`top_p` has to be a float > 0 and < 1, but is 1.5',
    ],
    [
      () => new P.ExponentialDecayLengthPenalty(new Array(2) as never, 2, 1),
      'Expected two numbers, [start, factor] for exponential_decay_length_penalty but received of ' +
        'type array',
    ],
    [
      () => toLogitsProcessorList(3 as never),
      'Expected a LogitsProcessor, a function or a list for logits_processor but received 3 of ' +
        'type number',
    ],
    [
      () => toLogitsProcessorList([3] as never),
      'Expected LogitsProcessor instances or functions for logits_processor but received 3 of ' +
        'type number',
    ],
  ])('%#', (make, text) => {
    expect(messageOf(make)).toBe(text);
  });
});

describe('LogitsProcessorList', () => {
  class Add extends LogitsProcessor {
    constructor(readonly amount: number) {
      super();
    }
    _call(_: number[][], scores: Float32Array[]): Float32Array[] {
      return scores.map((row) => row.map((x) => x + this.amount));
    }
  }

  it('is called, iterated, indexed and extended', () => {
    const list = new LogitsProcessorList([new Add(1)]);
    list.push((_, scores) => scores.map((row) => row.map((x) => x * 2)));
    list.extend([new Add(3)]).append(new Add(4));
    expect(list.length).toBe(4);
    expect([...list]).toHaveLength(4);
    expect(list.at(-1)).toBeInstanceOf(Add);
    expect([...(list([[1]], [Float32Array.of(1)])[0] as Float32Array)]).toEqual([11]);
    expect(typeof list).toBe('function');
    expect(list).toBeInstanceOf(LogitsProcessorList);
  });

  it('refuses an index that is none', () => {
    const list = new LogitsProcessorList([new Add(1)]);
    expect(messageOf(() => list.at(Symbol('x') as never))).toContain('an integer for index');
  });

  it('refuses a processor that gives holes for rows', () => {
    const holes = (_: number[][], scores: Float32Array[]) => new Array(scores.length);
    const call = () => new LogitsProcessorList([holes])([[1]], [new Float32Array(1)]);
    expect(messageOf(call)).toContain('Row 0 of the result of logits processor holes is malformed');
  });

  it('refuses a processor that loses rows', () => {
    class Loses extends LogitsProcessor {
      _call(): Float32Array[] {
        return [];
      }
    }
    expect(
      messageOf(() => new LogitsProcessorList([new Loses()])([[1]], [new Float32Array(1)])),
    ).toBe(
      'Expected 1 rows of scores for the result of logits processor Loses but received of type array',
    );
  });
});

describe('topK', () => {
  it('equals sorting, with the lower index first among equals', () => {
    for (let seed = 1; seed < 40; seed++) {
      let state = seed;
      const values = Float32Array.from({ length: 50 }, () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return state % 13;
      });
      const sorted = [...values.keys()].sort(
        (a, b) => (values[b] as number) - (values[a] as number) || a - b,
      );
      const k = 1 + (seed % 50);
      expect(topK(values, k)).toEqual(sorted.slice(0, k));
      expect(kthLargest(values, k)).toBe(values[sorted[k - 1] as number]);
    }
    expect(topK(Float32Array.of(1, 2), 5)).toEqual([1, 0]);
    expect(topK(Float32Array.of(1, 2), 0)).toEqual([]);
  });
});
