import { DeviceTensor, rms_norm } from 'komt/kernels';
import { expect, it } from 'vitest';
import { describeOnDevices } from './devices.js';
import { normals, worst } from './random.js';

describeOnDevices('rms_norm', (open) => {
  for (const [rows, hidden] of [
    [1, 8],
    [3, 100],
    [2, 1001],
  ] as const) {
    it(`[${rows}, ${hidden}] against float64, in three types`, () => {
      using gpu = open();
      const x = normals(rows * hidden, 1, 3);
      const w = normals(hidden, 2);
      const expected = new Float64Array(rows * hidden);
      for (let r = 0; r < rows; r++) {
        const row = x.subarray(r * hidden, (r + 1) * hidden);
        const mean = row.reduce((sum, v) => sum + v * v, 0) / hidden;
        row.forEach((v, i) => {
          expected[r * hidden + i] = (v / Math.sqrt(mean + 1e-5)) * (w[i] as number);
        });
      }
      const input = DeviceTensor.fromArray(gpu, x, [rows, hidden]);
      const weight = DeviceTensor.fromArray(gpu, w);
      const bound = { float16: 2 ** -10, bfloat16: 2 ** -7, float32: 1e-6 };
      for (const dtype of ['float16', 'bfloat16', 'float32'] as const) {
        const output = rms_norm(input, weight, { eps: 1e-5, dtype });
        expect(output.dtype).toBe(dtype);
        expect(worst(output.toArray(), expected)).toBeLessThan(bound[dtype]);
      }
      expect(rms_norm(input, weight, { eps: 1e-5, output: input })).toBe(input);
      expect(worst(input.toArray(), expected)).toBeLessThan(bound.float32);
    });
  }

  it('words what does not fit', () => {
    using gpu = open();
    const input = DeviceTensor.zeros(gpu, 'float32', [2, 8]);
    const weight = DeviceTensor.zeros(gpu, 'float32', [8]);
    expect(() => rms_norm(input, DeviceTensor.zeros(gpu, 'float32', [4]))).toThrow(
      'Expected a float32 tensor [8] for weight but received float32 [4] of type DeviceTensor',
    );
    expect(() => rms_norm(input, weight, { eps: -1 })).toThrow(/a number >= 0 for eps/);
    expect(() => rms_norm(input, weight, { dtype: 'int32' as 'float32' })).toThrow(/for dtype/);
    weight.dispose();
    expect(() => rms_norm(input, weight)).toThrow(/float32 \[8\] was disposed/);
  });
});
