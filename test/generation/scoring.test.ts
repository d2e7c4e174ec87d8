import { describe, expect, it } from 'vitest';
import { logSoftmax } from '../../lib/generation/float32.js';
import { forward, loglikelihood } from '../../lib/generation/scoring.js';
import { Tensor } from '../../lib/tensor.js';
import { hashModel } from './fake-engine.js';
import { rejection } from './support.js';

describe('forward', () => {
  it('gives the logits of every position', async () => {
    const model = hashModel();
    const { logits, hidden_states } = await forward(model, {
      input_ids: Tensor.fromRows([
        [1, 5, 9],
        [1, 5, 4],
      ]),
    });
    expect(logits.dims).toEqual([2, 3, 32]);
    const rows = logits.tolist() as number[][][];
    expect(rows[1]?.[2]).toEqual([...model.logitsOf([1, 5, 4])]);
    expect(rows[0]?.[0]).toEqual([...model.logitsOf([1])]);
    expect(hidden_states).toBeNull();
    expect(model.session.disposed).toBe(true);
  });

  it('leaves masked positions 0 and out of the text', async () => {
    const model = hashModel();
    const { logits, hidden_states } = await forward(model, {
      input_ids: [
        [0, 1, 5],
        [1, 5, 4],
      ],
      attention_mask: [
        [0, 1, 1],
        [1, 1, 1],
      ],
      output_hidden_states: true,
    });
    const rows = logits.tolist() as number[][][];
    expect(rows[0]?.[0]).toEqual(new Array(32).fill(0));
    expect(rows[0]?.[2]).toEqual([...model.logitsOf([1, 5])]);
    expect(rows[1]?.[2]).toEqual([...model.logitsOf([1, 5, 4])]);
    // The fake's hidden state is [position, token].
    expect(hidden_states?.at(-1)?.tolist()).toEqual([
      [
        [0, 0],
        [1, 1],
        [2, 5],
      ],
      [
        [1, 1],
        [2, 5],
        [3, 4],
      ],
    ]);
  });

  it('does not take padding for granted', async () => {
    const model = hashModel({ pad_token_id: 0 });
    const { logits } = await forward(model, { input_ids: [0, 1] });
    expect((logits.tolist() as number[][][])[0]?.[1]).toEqual([...model.logitsOf([0, 1])]);
  });

  it('refuses missing and impossible ids, and ends when aborted', async () => {
    expect(await rejection(forward(hashModel(), {} as { input_ids: number[] }))).toBe(
      'Expected token ids for input_ids but received undefined of type undefined',
    );
    expect(await rejection(forward(hashModel(), { input_ids: [99] }))).toBe(
      'Expected token ids from 0 to 31 for input_ids but received 99 of type number',
    );
    const call = forward(hashModel(), { input_ids: [1], signal: AbortSignal.abort() });
    await expect(call).rejects.toMatchObject({ name: 'AbortError' });
  });
});

describe('loglikelihood', () => {
  it('sums log-probabilities and sees whether they were the best', async () => {
    const model = hashModel();
    const best = (ids: number[]): number => {
      const logits = model.logitsOf(ids);
      return logits.indexOf(Math.max(...logits));
    };
    const context = [1, 5, 9];
    const a = best(context);
    const greedy = [a, best([...context, a])];
    const requests = [
      { context, continuation: greedy },
      { context: [1], continuation: [3, 4, 5] },
      { context, continuation: [a, (greedy[1] as number) ^ 1] },
    ];
    const answers = await loglikelihood(model, requests);
    answers.forEach((answer, i) => {
      const request = requests[i] as { context: number[]; continuation: number[] };
      let sum = 0;
      request.continuation.forEach((id, n) => {
        const text = [...request.context, ...request.continuation.slice(0, n)];
        sum += logSoftmax(model.logitsOf(text))[id] as number;
      });
      expect(answer.sum).toBeCloseTo(sum, 5);
    });
    expect(answers.map(({ greedy: flag }) => flag)).toEqual([true, false, false]);
    expect(model.session.disposed).toBe(true);
  });

  it('runs a shared context once', async () => {
    const model = hashModel();
    const context = [1, 5, 9, 4, 8];
    const requests = [3, 4, 5].map((id) => ({ context, continuation: [id, 6] }));
    await loglikelihood(model, requests);
    expect(model.session.tokensRun).toBe(4 + 3 * 2);
    expect(model.session.live).toBe(0);
  });

  it('answers any number of requests in their order', async () => {
    const model = hashModel();
    const requests = Array.from({ length: 300 }, (_, i) => ({
      context: [1, i % 7],
      continuation: [(i * 5) % 32, i % 32, 3],
    }));
    const answers = await loglikelihood(model, requests);
    const alone = await loglikelihood(model, requests.slice(123, 124));
    expect(answers).toHaveLength(300);
    expect(answers[123]).toEqual(alone[0]);
    expect(await loglikelihood(model, [])).toEqual([]);
  });

  it('needs tokens on both sides', async () => {
    expect(await rejection(loglikelihood(hashModel(), [{ context: [], continuation: [1] }]))).toBe(
      'Request 0 has no context: expected at least one token id, found []',
    );
    expect(await rejection(loglikelihood(hashModel(), [{ context: [1], continuation: [] }]))).toBe(
      'Request 0 has no continuation: expected at least one token id, found []',
    );
  });
});
