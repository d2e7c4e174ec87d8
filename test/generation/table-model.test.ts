import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../../lib/errors.js';
import { generate } from '../../lib/generation/generate.js';
import type { GenerateOptions } from '../../lib/generation/options.js';
import { compute_transition_scores } from '../../lib/generation/output.js';
import { Tensor } from '../../lib/tensor.js';
import { FakeModel } from './fake-engine.js';
import { collectWarnings } from './support.js';

/** Rows of a step; null is -Infinity. */
type Rows = (number | null)[][];

interface TableCase {
  name: string;
  input_ids: number[][];
  attention_mask: number[][] | null;
  options: GenerateOptions;
  sequences: number[][];
  sequences_scores?: number[];
  beam_indices?: number[][];
  steps: number;
  first_scores: Rows;
  last_scores: Rows;
  transition_scores: Rows;
}

const fixture = JSON.parse(
  readFileSync(new URL('../fixtures/generation/table-model.json', import.meta.url), 'utf8'),
) as { vocab_size: number; T: number[][]; P: number[][]; cases: TableCase[] };

/** The generator's model: T[last token] + P[number of tokens mod 7]. */
function tableModel(): FakeModel {
  return new FakeModel(
    (ids) => {
      const t = fixture.T[ids.at(-1) as number] as number[];
      const p = fixture.P[ids.length % 7] as number[];
      return Float32Array.from(t, (x, id) => x + (p[id] as number));
    },
    { vocab_size: fixture.vocab_size },
  );
}

function expectRows(actual: Tensor | undefined, expected: Rows): void {
  const rows = actual?.tolist() as number[][];
  expect(rows.length).toBe(expected.length);
  expected.forEach((row, r) => {
    row.forEach((x, id) => {
      const got = rows[r]?.[id] as number;
      if (x === null) expect(got).toBe(Number.NEGATIVE_INFINITY);
      else expect(Math.abs(got - x)).toBeLessThan(2e-4 * Math.max(1, Math.abs(x) / 1e3));
    });
  });
}

describe("transformers' answers for a model that is a table", () => {
  collectWarnings();

  it.each(fixture.cases.map((c) => [c.name, c] as const))('%s', async (_, c) => {
    const model = tableModel();
    const options = {
      ...c.options,
      input_ids: c.input_ids,
      attention_mask: c.attention_mask,
      return_dict_in_generate: true as const,
      output_scores: true,
      output_logits: true,
    };
    const output = await generate(model, options);
    expect(output.sequences.tolist()).toEqual(c.sequences);
    expect(output.scores).toHaveLength(c.steps);
    expectRows(output.scores?.[0], c.first_scores);
    expectRows(output.scores?.at(-1), c.last_scores);
    const beams = c.sequences_scores !== undefined;
    const transitions = compute_transition_scores(
      output.sequences,
      output.scores ?? [],
      output.beam_indices,
      !beams,
    );
    expectRows(transitions, c.transition_scores);
    if (beams) {
      expect(output.beam_indices?.tolist()).toEqual(c.beam_indices);
      const scores = output.sequences_scores?.tolist() as number[];
      c.sequences_scores?.forEach((x, i) => {
        expect(Math.abs((scores[i] as number) - x)).toBeLessThan(1e-4 * Math.max(1, Math.abs(x)));
      });
    }
    expect(model.session.disposed).toBe(true);
    // Without scores the same tokens come out, on the native path where there is one.
    const again = await generate(tableModel(), {
      ...c.options,
      input_ids: c.input_ids,
      attention_mask: c.attention_mask,
      return_dict_in_generate: false,
      output_logprobs: null,
    });
    expect(again.tolist()).toEqual(c.sequences);
  });
});

describe('compute_transition_scores refuses', () => {
  const sequences = Tensor.fromRows([[1, 5]]);
  const step = (...dims: [number, number]) =>
    new Tensor('float32', new Float32Array(dims[0] * dims[1]), dims);
  const empty = (rows: number) => new Tensor('int64', [], [rows, 0]);
  const endless = empty(2 ** 32 - 1);
  const beams = new Tensor('int32', new Int32Array(2), [2, 1]);
  it.each<[string, Parameters<typeof compute_transition_scores>, string]>([
    ['steps of other widths', [sequences, [step(1, 8), step(1, 9)]], 'steps of 8 scores a row'],
    ['steps of no scores', [sequences, [step(1, 0)], null, true], 'at least one element'],
    ['rows without tokens', [endless, [step(1, 8)]], 'at least one element'],
    ['rows without tokens and beams', [endless, [step(1, 8)], endless], 'at least one element'],
    ['more steps than tokens', [sequences, new Array(3).fill(step(1, 8))], 'at least 3 tokens'],
    ['beams of other rows', [sequences, [step(1, 8)], beams], '1 rows, as sequences has'],
  ])('%s', (_, args, text) => {
    expect(() => compute_transition_scores(...args)).toThrow(text);
    expect(() => compute_transition_scores(...args)).toThrow(InvalidArgumentError);
  });
});
