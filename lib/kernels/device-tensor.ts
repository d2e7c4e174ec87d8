import { DisposedError, InvalidArgumentError, invalidArgument } from '../errors.js';
import { guard } from '../native/errors.js';
import type { DType, HostArray, NativeTensor } from '../native/kernels.js';
import { MAX_DIMENSIONS } from '../tensor.js';
import { Device } from './device.js';

/** Far beyond any device; bytes stay exact. The same limit stands in native/addon/kernels. */
const MAX_ELEMENTS = 2 ** 51;
const DTYPES: readonly string[] = ['float16', 'bfloat16', 'float32', 'int32', 'uint8'];

/** Number of elements; what is no shape is refused. */
function sizeOf(dims: readonly number[]): number {
  if (!Array.isArray(dims) || dims.length > MAX_DIMENSIONS) {
    throw invalidArgument('dims', `an array of at most ${MAX_DIMENSIONS} integers`, dims);
  }
  let size = 1;
  for (const d of dims) {
    if (!Number.isInteger(d) || d < 0) throw invalidArgument('dims', 'non-negative integers', d);
    size *= d;
  }
  if (!(size < MAX_ELEMENTS)) {
    throw invalidArgument('dims', 'a number of elements below 2^51', `[${dims.join(', ')}]`);
  }
  return size;
}

/** What host values may be: an array or a typed array whose buffer is still its own. */
function requireValues(values: unknown): ArrayLike<number> {
  const list = values as ArrayLike<number> | null;
  const isList = typeof list === 'object' && list !== null;
  if (!isList || !Number.isInteger(list.length) || list.length < 0) {
    throw invalidArgument('values', 'an array of numbers', values);
  }
  return list;
}

/** Copies numbers; what cannot become one, such as a bigint or a symbol, is refused. */
function convert(values: ArrayLike<number>, array: HostArray): HostArray {
  try {
    array.set(values);
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    throw new InvalidArgumentError('A tensor holds numbers', {
      subject: 'values',
      expected: 'an array of numbers',
      found: cause.message,
      remedy: 'Convert the values with Number() first.',
      cause,
    });
  }
  return array;
}

function hostArray(dtype: DType, size: number): HostArray {
  if (dtype === 'int32') return new Int32Array(size);
  if (dtype === 'uint8') return new Uint8Array(size);
  return new Float32Array(size);
}

/**
 * A dense row-major array in a GPU's memory. The memory is the tensor's own: {@link dispose} (or
 * `using`, or disposing the device) gives it back, the garbage collector is the safety net.
 */
export class DeviceTensor {
  readonly device: Device;
  readonly dtype: DType;
  /** Lengths of the dimensions, outermost first. */
  readonly dims: readonly number[];
  /** Number of elements. */
  readonly size: number;
  #native: NativeTensor | null;

  /**
   * Uninitialised memory.
   * @throws {OutOfMemoryError} with the bytes needed and free
   */
  constructor(device: Device, dtype: DType, dims: readonly number[]) {
    if (!(device instanceof Device)) throw invalidArgument('device', 'a Device', device);
    if (!DTYPES.includes(dtype))
      throw invalidArgument('dtype', `one of ${DTYPES.join(', ')}`, dtype);
    const size = sizeOf(dims);
    this.device = device;
    this.dtype = dtype;
    this.dims = [...dims];
    this.size = size;
    this.#native = guard(() => new device.kernels.Tensor(device.handle, dtype, size));
  }

  /**
   * A tensor filled from host memory, rounded to nearest even where `dtype` is narrower.
   * @param dims default: one dimension of `values.length`
   * @param dtype default 'float32'
   */
  static fromArray(
    device: Device,
    values: ArrayLike<number>,
    dims: readonly number[] = [requireValues(values).length],
    dtype: DType = 'float32',
  ): DeviceTensor {
    const size = sizeOf(dims);
    if (requireValues(values).length !== size) {
      throw invalidArgument('values', `${size} elements for [${dims.join(', ')}]`, values.length);
    }
    const tensor = new DeviceTensor(device, dtype, dims);
    tensor.write(values);
    return tensor;
  }

  /** A tensor of zeros. */
  static zeros(device: Device, dtype: DType, dims: readonly number[]): DeviceTensor {
    const tensor = new DeviceTensor(device, dtype, dims);
    tensor.write(hostArray(dtype, tensor.size));
    return tensor;
  }

  /** @internal */
  get handle(): NativeTensor {
    if (this.disposed || !this.#native) throw new DisposedError(`${this} was disposed`);
    return this.#native;
  }

  get disposed(): boolean {
    return this.#native === null || this.device.disposed;
  }

  /** Overwrites the elements from `offset` on. Waits for kernels enqueued before, and for the copy. */
  write(values: ArrayLike<number>, offset = 0): void {
    requireValues(values);
    if (!Number.isInteger(offset) || offset < 0 || offset + values.length > this.size) {
      throw invalidArgument('offset', `room for ${values.length} of ${this.size} elements`, offset);
    }
    const wanted = hostArray(this.dtype, 0).constructor;
    let array = values as HostArray;
    if (values.constructor !== wanted) {
      array = convert(values, hostArray(this.dtype, values.length));
    }
    guard(() => this.handle.write(array, offset));
  }

  /** Replaces the contents by those of a tensor of the same type and dims; a kernel like any other. */
  copyFrom(source: DeviceTensor): void {
    if (!(source instanceof DeviceTensor)) throw invalidArgument('source', 'a tensor', source);
    const same = source.dtype === this.dtype && `${source.dims}` === `${this.dims}`;
    if (!same || source.device !== this.device) {
      throw invalidArgument('source', `a tensor like ${this} on ${this.device.name}`, `${source}`);
    }
    guard(() => this.handle.copyFrom(source.handle));
  }

  /**
   * The elements, row-major: a Float32Array for the float types, else Int32Array or Uint8Array. Waits
   * for everything enqueued before.
   * @throws {DeviceError} if a kernel failed meanwhile
   */
  toArray(): HostArray {
    return guard(() => this.handle.read(hostArray(this.dtype, this.size)));
  }

  /** Gives the memory back, after the kernels that still use it. Any further use throws DisposedError. */
  dispose(): void {
    const native = this.#native;
    if (native && !this.device.disposed) guard(() => native.dispose());
    this.#native = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Such as `float16 [4, 128]`. */
  toString(): string {
    return `${this.dtype} [${this.dims.join(', ')}]`;
  }
}
