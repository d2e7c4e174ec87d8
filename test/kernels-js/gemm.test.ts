import { type Device, DeviceTensor, gemm, InvalidArgumentError, rms_norm } from 'komt/kernels';
import { expect, it } from 'vitest';
import { describeOnDevices } from './devices.js';
import { normals, worst } from './random.js';

/** input weight^T in float64. */
function product(a: ArrayLike<number>, b: ArrayLike<number>, m: number, n: number, k: number) {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let l = 0; l < k; l++) sum += (a[i * k + l] as number) * (b[j * k + l] as number);
      out[i * n + j] = sum;
    }
  }
  return out;
}

function operands(gpu: Device, m: number, n: number, k: number, dtype: 'float16' | 'bfloat16') {
  const input = DeviceTensor.fromArray(gpu, normals(m * k, 1), [m, k], dtype);
  const weight = DeviceTensor.fromArray(gpu, normals(n * k, 2, k ** -0.5), [n, k], dtype);
  return { input, weight, y: product(input.toArray(), weight.toArray(), m, n, k) };
}

const ROUNDING = { float16: 2 ** -10, bfloat16: 2 ** -7, float32: 1e-5 };

describeOnDevices('gemm', (open) => {
  for (const dtype of ['float16', 'bfloat16'] as const) {
    for (const [m, n, k] of [
      [1, 48, 64],
      [3, 33, 72],
      [65, 130, 40],
    ] as const) {
      it(`${dtype} [${m}, ${k}] x [${n}, ${k}]: store with bias, in both types`, () => {
        using gpu = open();
        const { input, weight, y } = operands(gpu, m, n, k, dtype);
        const bias = DeviceTensor.fromArray(gpu, normals(n, 3));
        const biased = y.map((x, i) => x + (bias.toArray()[i % n] as number));
        const stored = gemm(input, weight, { bias });
        expect(stored.dtype).toBe(dtype);
        expect(stored.dims).toEqual([m, n]);
        expect(worst(stored.toArray(), biased)).toBeLessThan(ROUNDING[dtype]);
        const floats = gemm(input, weight, { bias, dtype: 'float32' }).toArray();
        expect(worst(floats, biased)).toBeLessThan(ROUNDING.float32);
      });
    }
  }

  it('adds to the residual and gates', () => {
    using gpu = open();
    const { input, weight, y } = operands(gpu, 5, 64, 32, 'float16');
    const before = normals(5 * 64, 4);
    const output = DeviceTensor.fromArray(gpu, before, [5, 64]);
    expect(gemm(input, weight, { epilogue: 'residual_add', output })).toBe(output);
    const sum = y.map((x, i) => x + (before[i] as number));
    expect(worst(output.toArray(), sum)).toBeLessThan(ROUNDING.float32);
    const gated = Float64Array.from({ length: 5 * 32 }, (_, i) => {
      const gate = y[2 * i] as number;
      return (gate / (1 + Math.exp(-gate))) * (y[2 * i + 1] as number);
    });
    const silu = gemm(input, weight, { epilogue: 'silu_gate' });
    expect(silu.dims).toEqual([5, 32]);
    expect(worst(silu.toArray(), gated)).toBeLessThan(ROUNDING.float16);
  });

  it('fuses a norm into the product of one row, to the bits of rms_norm before it', () => {
    using gpu = open();
    const x = DeviceTensor.fromArray(gpu, normals(64, 5), [1, 64]);
    const normWeight = DeviceTensor.fromArray(gpu, normals(64, 6));
    const weight = DeviceTensor.fromArray(gpu, normals(16 * 64, 7), [16, 64], 'float16');
    const apart = gemm(rms_norm(x, normWeight, { eps: 1e-5 }), weight, { dtype: 'float32' });
    const fused = gemm(x, weight, { norm: { weight: normWeight, eps: 1e-5 }, dtype: 'float32' });
    expect(worst(fused.toArray(), apart.toArray())).toBeLessThan(2e-3);
    const rows = DeviceTensor.zeros(gpu, 'float32', [2, 64]);
    expect(() => gemm(rows, weight, { norm: { weight: normWeight, eps: 1e-5 } })).toThrow(
      /found 2 rows of 64\. Call rms_norm first/,
    );
  });

  it('batchInvariant: a row alone has the bits it has among others', () => {
    using gpu = open();
    const { input, weight } = operands(gpu, 20, 40, 256, 'float16');
    const all = gemm(input, weight, { batchInvariant: true, dtype: 'float32' }).toArray();
    const row = input.toArray().slice(7 * 256, 8 * 256);
    const alone = gemm(DeviceTensor.fromArray(gpu, row, [1, 256], 'float16'), weight, {
      batchInvariant: true,
      dtype: 'float32',
    });
    expect(alone.toArray()).toEqual(all.slice(7 * 40, 8 * 40));
  });

  // A product is launched to overlap what is in front of it and fetches weights early: not those that a
  // launch before it still computes.
  it('takes weights that the launches before it have written', () => {
    using gpu = open();
    for (const rows of [1, 3]) {
      const { input, weight: first, y } = operands(gpu, 16, 8, 24, 'float16');
      const x = DeviceTensor.fromArray(gpu, normals(rows * 8, 8), [rows, 8], 'float16');
      const computed = DeviceTensor.zeros(gpu, 'float16', [16, 8]);
      gemm(input, first, { output: computed });
      const output = gemm(x, computed, { dtype: 'float32' });
      const copy = DeviceTensor.zeros(gpu, 'float16', [16, 8]);
      copy.copyFrom(computed);
      const again = gemm(x, copy, { dtype: 'float32' });
      expect(worst(computed.toArray(), y)).toBeLessThan(ROUNDING.float16);
      const expected = product(x.toArray(), computed.toArray(), rows, 16, 8);
      expect(worst(output.toArray(), expected)).toBeLessThan(ROUNDING.float32);
      expect(worst(again.toArray(), expected)).toBeLessThan(ROUNDING.float32);
    }
  });

  it('no rows, no launch', () => {
    using gpu = open();
    const weight = DeviceTensor.zeros(gpu, 'float16', [8, 8]);
    expect(gemm(DeviceTensor.zeros(gpu, 'float16', [0, 8]), weight).dims).toEqual([0, 8]);
  });

  it('words what does not fit', () => {
    using gpu = open();
    using other = open();
    const half = (...dims: number[]) => DeviceTensor.zeros(gpu, 'float16', dims);
    const weight = half(6, 16);
    expect(() => gemm(half(2, 8), weight)).toThrow(
      'Expected a float16 tensor [m, 16] for input but received float16 [2, 8] of type DeviceTensor',
    );
    expect(() => gemm(half(2, 16), half(6, 12))).toThrow(/a multiple of 8 columns for weight/);
    expect(() => gemm(half(2, 16), DeviceTensor.zeros(gpu, 'float32', [6, 16]))).toThrow(
      /float16 or bfloat16 tensor/,
    );
    expect(() => gemm(half(2, 16), [] as unknown as DeviceTensor)).toThrow(/of type array/);
    expect(() => gemm(half(2, 16), weight, { epilogue: 'residual_add' })).toThrow(/for output/);
    expect(() => gemm(half(2, 16), weight, { epilogue: 'relu' as 'store' })).toThrow(
      /for epilogue/,
    );
    expect(() => gemm(half(2, 16), weight, { output: half(2, 5) })).toThrow(/\[2, 6\] for output/);
    expect(() => gemm(DeviceTensor.zeros(other, 'float16', [2, 16]), weight)).toThrow(
      /device object of the other arguments/,
    );
    const odd = half(5, 16);
    expect(() => gemm(half(2, 16), odd, { epilogue: 'silu_gate' })).toThrow(InvalidArgumentError);
  });
});
