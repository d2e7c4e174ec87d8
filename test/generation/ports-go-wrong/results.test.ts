/** Where ports of transformers' generation go wrong, 10 to 12: beams, streamers and the result. */

import { describe, expect, it } from 'vitest';
import { generate } from '../../../lib/generation/generate.js';
import { RepetitionPenaltyLogitsProcessor } from '../../../lib/generation/logits-processors.js';
import { compute_transition_scores } from '../../../lib/generation/output.js';
import { hashModel } from '../fake-engine.js';
import { collectWarnings, rejection, rowsOf } from '../support.js';

collectWarnings();
const input_ids = [[1, 5, 9]];

describe('10. beams', () => {
  // transformers' own answers are held by ../table-model.test.ts.
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
