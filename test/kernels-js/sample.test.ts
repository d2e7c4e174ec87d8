import { type Device, DeviceTensor, sample } from 'komt/kernels';
import { expect, it } from 'vitest';
import { describeOnDevices } from './devices.js';
import { normals, worst } from './random.js';

const int32 = (gpu: Device, values: number[], dims?: number[]) =>
  DeviceTensor.fromArray(gpu, values, dims, 'int32');

/** Streams 0 to rows - 1 under one hash, all at the same step. */
function streams(gpu: Device, rows: number, step = 0) {
  return {
    steps: int32(gpu, new Array(rows).fill(step)),
    stream_lanes: int32(
      gpu,
      Array.from({ length: rows }, (_, r) => r),
    ),
    stream_hashes: int32(gpu, new Array(2 * rows).fill(0), [rows, 2]),
  };
}

function logSoftmax(row: ArrayLike<number>): number[] {
  const values = Array.from(row);
  const max = Math.max(...values);
  const total = values.reduce((sum, x) => sum + Math.exp(x - max), 0);
  return values.map((x) => x - max - Math.log(total));
}

describeOnDevices('sample', (open) => {
  it('greedy: the first largest, with its log-probability', () => {
    using gpu = open();
    const [rows, vocab] = [3, 777];
    const values = normals(rows * vocab, 1);
    values[20] = 9;
    values[500] = 9;
    const logits = DeviceTensor.fromArray(gpu, values, [rows, vocab]);
    const { tokens, logprobs } = sample(logits, { logprobs: true });
    const chosen = [...tokens.toArray()];
    const expected: number[] = [];
    const logs: number[] = [];
    for (let r = 0; r < rows; r++) {
      const row = Array.from(values.subarray(r * vocab, (r + 1) * vocab));
      expected.push(row.indexOf(Math.max(...row)));
      logs.push(logSoftmax(row)[expected[r] as number] as number);
    }
    expect(chosen).toEqual(expected);
    expect(chosen[0]).toBe(20);
    expect(worst((logprobs as DeviceTensor).toArray(), logs)).toBeLessThan(1e-5);
  });

  it('masks the end of sequence and penalises what has occurred', () => {
    using gpu = open();
    const logits = () => DeviceTensor.fromArray(gpu, [1, 5, 4, 0, 1, 5, 4, 0], [2, 4]);
    const masked = sample(logits(), {
      eos_token_ids: int32(gpu, [1]),
      min_steps: int32(gpu, [3, 2]),
      steps: int32(gpu, [2, 2]),
    });
    expect([...masked.tokens.toArray()]).toEqual([2, 1]);
    const seen = DeviceTensor.fromArray(gpu, [0, 1, 0, 0, 0, 0, 0, 0], [2, 4], 'uint8');
    const penalised = sample(logits(), { seen, repetition_penalty: 2 });
    expect([...penalised.tokens.toArray()]).toEqual([2, 1]);
    expect([...seen.toArray()]).toEqual([0, 1, 1, 0, 0, 1, 0, 0]);
  });

  it('draws as often as the probabilities say, from what the filters leave', () => {
    using gpu = open();
    const probabilities = [0.4, 0.3, 0.2, 0.1];
    const row = probabilities.map(Math.log);
    const draw = (rows: number, options: Parameters<typeof sample>[1], step = 0) => {
      const values = Array.from({ length: rows * 4 }, (_, i) => row[i % 4] as number);
      const logits = DeviceTensor.fromArray(gpu, values, [rows, 4]);
      const all = { do_sample: true, seed: 7n, ...streams(gpu, rows, step), ...options };
      return [...sample(logits, all).tokens.toArray()];
    };
    const many = draw(500, {});
    const shares = [0, 1, 2, 3].map((id) => many.filter((t) => t === id).length / 500);
    // Four standard deviations of a share of 500 draws.
    expect(worst(shares, probabilities)).toBeLessThan(0.09);
    const left = (options: Parameters<typeof sample>[1]) => [...new Set(draw(40, options))].sort();
    expect(left({ top_k: 2 })).toEqual([0, 1]);
    expect(left({ top_p: 0.65 })).toEqual([0, 1]);
    expect(left({ min_p: 0.45 })).toEqual([0, 1, 2]);
    expect(left({ temperature: 0.05 })).toEqual([0]);
    const few = many.slice(0, 40);
    expect(draw(40, {})).toEqual(few);
    expect(draw(40, { seed: 8n })).not.toEqual(few);
    expect(draw(40, {}, 1)).not.toEqual(few);
  });

  it('words what does not fit', () => {
    using gpu = open();
    const logits = DeviceTensor.zeros(gpu, 'float32', [2, 4]);
    expect(() => sample(logits, { do_sample: true })).toThrow(/a tensor, to sample for steps/);
    expect(() => sample(logits, { temperature: 0 })).toThrow(/a number > 0 for temperature/);
    expect(() => sample(logits, { top_p: 1.5 })).toThrow(/a number from 0 to 1 for top_p/);
    expect(() => sample(logits, { top_k: -1 })).toThrow(/for top_k/);
    expect(() => sample(logits, { repetition_penalty: 2 })).toThrow(/for seen/);
    expect(() => sample(logits, { seed: 7 as unknown as bigint })).toThrow(/64 bits for seed/);
    expect(() => sample(DeviceTensor.zeros(gpu, 'float16', [2, 4]))).toThrow(/float32 tensor/);
  });
});
