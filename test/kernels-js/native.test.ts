/**
 * The addon's kernels without lib/kernels: a launch whose numbers and tensors do not fit each other is
 * refused before it touches memory.
 */
import { type Device, DeviceTensor, InvalidArgumentError, KvCache } from 'komt/kernels';
import { expect, it } from 'vitest';
import type { NativeKernels } from '../../lib/native/kernels.js';
import { describeOnDevices } from './devices.js';

const NUMBERS: unknown[] = [-1, Number.NaN, 1.5, 2 ** 31, 2 ** 53, '3', null, undefined, {}, 5n];
/** Arguments that may have fractions. */
const REAL = /^(eps|normEps|scale|temperature|topP|minP|typicalP|repetitionPenalty)$/;
const NO_REALS: unknown[] = [-1, Number.NaN, '3', null, undefined, {}, 5n];

function kindOf(call: () => unknown): unknown {
  try {
    call();
    return 'nothing thrown';
  } catch (error) {
    return (error as { kind?: string }).kind ?? error;
  }
}

describeOnDevices('The kernels of the addon', (open) => {
  /** Calls `name` with each argument made wrong in turn; `good` itself runs. */
  function probe(gpu: Device, name: keyof NativeKernels, good: Record<string, unknown>) {
    const run = (args: unknown) =>
      (gpu.kernels[name] as (device: unknown, args: unknown) => void)(gpu.handle, args);
    using other = open();
    const elsewhere = DeviceTensor.zeros(other, 'float32', [4096]);
    const small = DeviceTensor.zeros(gpu, 'float32', [0]);
    const bytes = DeviceTensor.zeros(gpu, 'uint8', [4096]);
    run(good);
    gpu.synchronize();
    for (const [field, value] of Object.entries(good)) {
      const wrong: unknown[] =
        typeof value === 'number'
          ? REAL.test(field)
            ? NO_REALS
            : NUMBERS
          : typeof value === 'boolean'
            ? [0, 'no', {}, null]
            : typeof value === 'bigint'
              ? [1, -1n, 1n << 64n, null]
              : value instanceof Object && Object.getPrototypeOf(value) !== Object.prototype
                ? [
                    {},
                    3,
                    gpu.handle,
                    elsewhere.handle,
                    small.handle,
                    field === 'seen' ? 3 : bytes.handle,
                  ]
                : [3, []];
      for (const bad of wrong) {
        const kind = kindOf(() => run({ ...good, [field]: bad }));
        expect(kind, `${name}: ${field} = ${String(bad)}`).toBe('invalid_argument');
      }
    }
    for (const args of [undefined, null, 3, []]) {
      expect(kindOf(() => run(args))).toBe('invalid_argument');
    }
    for (const device of [undefined, {}, small.handle]) {
      const call = gpu.kernels[name] as (device: unknown, args: unknown) => void;
      expect(kindOf(() => call(device, good))).toBe('invalid_argument');
    }
    gpu.synchronize();
  }
  const zeros = (
    gpu: Device,
    dtype: 'float16' | 'float32' | 'int32' | 'uint8',
    ...dims: number[]
  ) => DeviceTensor.zeros(gpu, dtype, dims).handle;

  it('rmsNorm', () => {
    using gpu = open();
    probe(gpu, 'rmsNorm', {
      input: zeros(gpu, 'float32', 2, 16),
      weight: zeros(gpu, 'float32', 16),
      output: zeros(gpu, 'float16', 2, 16),
      rows: 2,
      hidden: 16,
      eps: 1e-6,
    });
  });

  it('gemm', () => {
    using gpu = open();
    probe(gpu, 'gemm', {
      rows: 2,
      n: 16,
      k: 8,
      input: zeros(gpu, 'float16', 2, 8),
      weight: zeros(gpu, 'float16', 16, 8),
      bias: zeros(gpu, 'float32', 16),
      output: zeros(gpu, 'float16', 2, 16),
      epilogue: 0,
      normEps: 0,
      batchInvariant: false,
    });
  });

  it('ropeAppend, attention and copyPages', () => {
    using gpu = open();
    const heads = { numHeads: 2, numKvHeads: 1, headDim: 8 };
    const cache = new KvCache(gpu, { pages: 2, num_key_value_heads: 1, head_dim: 8 });
    const keys = cache.keys.handle;
    const values = cache.values.handle;
    const blockTable = zeros(gpu, 'int32', 1, 1);
    probe(gpu, 'ropeAppend', {
      ...heads,
      keys,
      values,
      positions: zeros(gpu, 'int32', 1),
      ropeRows: zeros(gpu, 'int32', 1),
      sequenceIds: zeros(gpu, 'int32', 1),
      blockTable,
      blockTableStride: 1,
      cos: zeros(gpu, 'float32', 1, 4),
      sin: zeros(gpu, 'float32', 1, 4),
      qkv: zeros(gpu, 'float16', 1, 32),
      query: zeros(gpu, 'float16', 1, 16),
      numTokens: 1,
    });
    probe(gpu, 'attention', {
      ...heads,
      keys,
      values,
      query: zeros(gpu, 'float16', 1, 16),
      output: zeros(gpu, 'float16', 1, 16),
      cuSeqlens: DeviceTensor.fromArray(gpu, [0, 1], [2], 'int32').handle,
      kvLengths: DeviceTensor.fromArray(gpu, [1], [1], 'int32').handle,
      blockTable,
      blockTableStride: 1,
      numSequences: 1,
      maxNewTokens: 1,
      maxKvLength: 64,
      scale: 1,
      window: 0,
    });
    probe(gpu, 'copyPages', {
      sourceKeys: keys,
      sourceValues: values,
      targetKeys: keys,
      targetValues: values,
      sourcePages: zeros(gpu, 'int32', 1),
      targetPages: DeviceTensor.fromArray(gpu, [1], [1], 'int32').handle,
      count: 1,
      pageBytes: 64 * 8 * 2,
    });
  });

  it('sample', () => {
    using gpu = open();
    probe(gpu, 'sample', {
      logits: DeviceTensor.fromArray(gpu, [1, 2, 3, 4], [1, 4]).handle,
      rows: 1,
      vocab: 4,
      doSample: true,
      temperature: 1,
      topK: 2,
      topP: 0.5,
      minP: 0,
      typicalP: 1,
      repetitionPenalty: 1.1,
      eosTokenIds: zeros(gpu, 'int32', 1),
      numEos: 1,
      minSteps: zeros(gpu, 'int32', 1),
      steps: zeros(gpu, 'int32', 1),
      seed: 1n,
      streamHashes: zeros(gpu, 'int32', 1, 2),
      streamLanes: zeros(gpu, 'int32', 1),
      seen: zeros(gpu, 'uint8', 1, 4),
      tokens: zeros(gpu, 'int32', 1),
      logprobs: zeros(gpu, 'float32', 1),
    });
  });

  it('tensors', () => {
    using gpu = open();
    const tensor = DeviceTensor.zeros(gpu, 'float32', [4]);
    const { Tensor } = gpu.kernels;
    for (const value of NUMBERS.filter((n) => n !== 2 ** 31) as never[]) {
      expect(kindOf(() => new Tensor(gpu.handle, 'float32', value))).toBe('invalid_argument');
      expect(kindOf(() => tensor.handle.write(Float32Array.of(1), value))).toBe('invalid_argument');
      expect(kindOf(() => tensor.handle.write(value, 0))).toBe('invalid_argument');
      expect(kindOf(() => tensor.handle.read(value))).toBe('invalid_argument');
      expect(kindOf(() => tensor.handle.copyFrom(value))).toBe('invalid_argument');
      expect(kindOf(() => gpu.handle.measure(() => {}, value))).toBe('invalid_argument');
    }
    const gone = new Float32Array(4);
    structuredClone(gone, { transfer: [gone.buffer] });
    for (const array of [
      gone,
      new Int32Array(4),
      new Float64Array(4),
      new DataView(new ArrayBuffer(16)),
    ]) {
      expect(kindOf(() => tensor.handle.write(array as never, 0))).toBe('invalid_argument');
      expect(kindOf(() => tensor.handle.read(array as never))).toBe('invalid_argument');
    }
    expect(kindOf(() => tensor.handle.read(new Float32Array(5)))).toBe('invalid_argument');
    expect(kindOf(() => tensor.handle.write(new Float32Array(3), 2))).toBe('invalid_argument');
    const shared = new Float32Array(new SharedArrayBuffer(16)).fill(3);
    tensor.write(shared);
    expect([...tensor.toArray()]).toEqual([3, 3, 3, 3]);
  });

  it('nothing is disposed while launches are recorded', () => {
    using gpu = open();
    const a = DeviceTensor.zeros(gpu, 'float32', [4]);
    const b = DeviceTensor.zeros(gpu, 'float32', [4]);
    for (const dispose of [() => a.dispose(), () => gpu.dispose(), () => gpu.measure(() => {})]) {
      let calls = 0;
      const enqueue = () => {
        b.copyFrom(a);
        if (calls++ === 1) dispose();
      };
      expect(() => gpu.measure(enqueue)).toThrow(InvalidArgumentError);
      expect([...b.toArray()]).toEqual([0, 0, 0, 0]);
    }
  });

  it('lib/kernels refuses in the same words what is no tensor, shape or list', () => {
    using gpu = open();
    for (const value of [null, undefined, 3, 'x', {}]) {
      expect(() => new DeviceTensor(value as never, 'float32', [1])).toThrow(InvalidArgumentError);
      expect(() => new DeviceTensor(gpu, 'float32', value as never)).toThrow(InvalidArgumentError);
      expect(() => DeviceTensor.fromArray(gpu, value as never)).toThrow(InvalidArgumentError);
    }
    expect(() => new DeviceTensor(gpu, 'float32', [2 ** 30, 2 ** 30])).toThrow(/below 2\^51/);
    const tensor = DeviceTensor.zeros(gpu, 'float32', [4]);
    expect(() => tensor.copyFrom(null as never)).toThrow(InvalidArgumentError);
    for (const values of [null, { length: -1 }, [1n], [Symbol('x')], new BigInt64Array(1)]) {
      expect(() => tensor.write(values as never)).toThrow(InvalidArgumentError);
    }
    expect(() => gpu.measure(null as never)).toThrow(InvalidArgumentError);
  });
});
