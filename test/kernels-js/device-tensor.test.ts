import {
  DeviceTensor,
  DisposedError,
  device,
  InvalidArgumentError,
  OutOfMemoryError,
} from 'komt/kernels';
import { expect, it } from 'vitest';
import { loadAddon } from '../../lib/native/load.js';
import { describeOnDevices } from './devices.js';
import { normals } from './random.js';

it('a device name that is none is refused with the names that are', () => {
  expect(() => device('gpu0')).toThrow(
    "Expected 'cuda', 'cuda:N' or 'cuda-emulated[:N]' for device but received gpu0 of type string",
  );
});

describeOnDevices('DeviceTensor', (open) => {
  it('carries every type there and back', () => {
    using gpu = open();
    const ints = [0, 1, -5, 2 ** 31 - 1];
    expect([...DeviceTensor.fromArray(gpu, ints, [4], 'int32').toArray()]).toEqual(ints);
    const floats = normals(1000, 1);
    expect(DeviceTensor.fromArray(gpu, floats, [10, 100]).toArray()).toEqual(floats);
    expect([...DeviceTensor.fromArray(gpu, [0, 255], [2], 'uint8').toArray()]).toEqual([0, 255]);
    expect([...DeviceTensor.zeros(gpu, 'bfloat16', [3]).toArray()]).toEqual([0, 0, 0]);
    expect(DeviceTensor.fromArray(gpu, [], [0, 4]).toArray()).toHaveLength(0);
  });

  it('rounds to nearest even', () => {
    using gpu = open();
    // Halfway between 1 and the next half is 1; a little more, or an odd neighbour, goes up.
    const values = [1 + 2 ** -11, 1 + 2 ** -11 + 2 ** -20, 1 + 3 * 2 ** -11, 65520, 2 ** -25];
    const half = DeviceTensor.fromArray(gpu, values, [5], 'float16').toArray();
    expect([...half]).toEqual([1, 1 + 2 ** -10, 1 + 2 ** -9, Number.POSITIVE_INFINITY, 0]);
    const bf16 = DeviceTensor.fromArray(gpu, [1 + 2 ** -8, 1 + 3 * 2 ** -8], [2], 'bfloat16');
    expect([...bf16.toArray()]).toEqual([1, 1 + 2 ** -6]);
  });

  it('writes parts and copies on the device', () => {
    using gpu = open();
    const a = DeviceTensor.fromArray(gpu, [1, 2, 3, 4], [4], 'float16');
    a.write([7, 8], 2);
    const b = DeviceTensor.zeros(gpu, 'float16', [4]);
    b.copyFrom(a);
    a.write([0, 0, 0, 0]);
    expect([...b.toArray()]).toEqual([1, 2, 7, 8]);
    expect(() => a.write([1], 4)).toThrow(InvalidArgumentError);
    expect(() => b.copyFrom(DeviceTensor.zeros(gpu, 'float16', [2, 2]))).toThrow(
      /Expected a tensor like float16 \[4\].*received float16 \[2, 2\]/,
    );
  });

  it('refuses what no tensor is', () => {
    using gpu = open();
    expect(() => new DeviceTensor(gpu, 'float64' as 'float32', [1])).toThrow(/for dtype/);
    expect(() => new DeviceTensor(gpu, 'float32', [2, -1])).toThrow(
      /non-negative integers for dims/,
    );
    expect(() => DeviceTensor.fromArray(gpu, [1, 2, 3], [2])).toThrow(/2 elements for \[2\]/);
    expect(() => new DeviceTensor(gpu, 'float32', new Array(65).fill(1))).toThrow(/at most 64/);
  });

  it('says how much memory there was not', () => {
    using gpu = open();
    let error: unknown;
    try {
      new DeviceTensor(gpu, 'float32', [2 ** 20, 2 ** 20]);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(OutOfMemoryError);
    expect((error as OutOfMemoryError).bytesNeeded).toBe(2 ** 42);
    expect((error as OutOfMemoryError).bytesFree).toBeGreaterThan(0);
    expect([...DeviceTensor.fromArray(gpu, [5]).toArray()]).toEqual([5]);
  });

  it('throws DisposedError after dispose, of the tensor or of its device', () => {
    const gpu = open();
    const a = DeviceTensor.zeros(gpu, 'float32', [4]);
    const b = DeviceTensor.zeros(gpu, 'float32', [4]);
    a.dispose();
    a.dispose();
    expect(a.disposed).toBe(true);
    expect(() => a.toArray()).toThrow(DisposedError);
    expect(() => b.copyFrom(a)).toThrow(DisposedError);
    gpu.dispose();
    gpu.dispose();
    expect(b.disposed).toBe(true);
    expect(() => b.toArray()).toThrow(DisposedError);
    expect(() => b.write([1])).toThrow(DisposedError);
    expect(() => gpu.synchronize()).toThrow(DisposedError);
    expect(() => new DeviceTensor(gpu, 'float32', [1])).toThrow(DisposedError);
    b.dispose();
  });

  it('gives all memory back: by dispose, and with the device what was forgotten', () => {
    const gpu = open();
    const addon = loadAddon(gpu.name.startsWith('cuda-emulated') ? 'komt_emulated' : 'komt');
    const free = () => addon.devices().find((d) => d.name === gpu.name)?.memoryFree ?? 0;
    const before = free();
    for (let i = 0; i < 20; i++) {
      using tensor = new DeviceTensor(gpu, 'float32', [2 ** 21]);
      tensor.write([i], i);
    }
    expect(free()).toBe(before);
    new DeviceTensor(gpu, 'float32', [2 ** 21]);
    expect(free()).toBeLessThan(before);
    gpu.dispose();
    expect(free()).toBe(before);
  });

  it('times what it records, and passes on what the recorded function throws', () => {
    using gpu = open();
    const a = DeviceTensor.zeros(gpu, 'float32', [1024]);
    const b = DeviceTensor.zeros(gpu, 'float32', [1024]);
    const seen: number[] = [];
    const us = gpu.measure(
      (i) => {
        seen.push(i);
        b.copyFrom(a);
      },
      { launches: 3, repeats: 2 },
    );
    expect(us).toBeGreaterThanOrEqual(0);
    expect(seen).toEqual([0, 0, 1, 2]);
    let calls = 0;
    const failing = () => {
      if (calls++ === 1) throw new RangeError('mine');
      b.copyFrom(a);
    };
    expect(() => gpu.measure(failing)).toThrow(new RangeError('mine'));
    // Reading while recording is an error of the caller's, not the end of the device object.
    let reads = 0;
    const reading = () => {
      if (reads++ === 1) a.toArray();
    };
    expect(() => gpu.measure(reading)).toThrow(InvalidArgumentError);
    expect([...a.toArray().subarray(0, 2)]).toEqual([0, 0]);
  });
});
