/** What kernel arguments have to be, in one wording. */
import { InvalidArgumentError, invalidArgument } from '../errors.js';
import type { DType } from '../native/kernels.js';
import type { Device } from './device.js';
import { DeviceTensor } from './device-tensor.js';

/** A tensor's expected shape: a length, or the name of one that may be anything. */
export type Pattern = readonly (number | string)[];

/** Activations and weights of the matrix kernels. */
export const HALF: readonly DType[] = ['float16', 'bfloat16'];

/** @throws {InvalidArgumentError} unless `value` is a tensor on `device`, of these types and dims */
export function requireTensor(
  name: string,
  value: unknown,
  dtypes: readonly DType[],
  dims: Pattern,
  device?: Device,
): DeviceTensor {
  const expected = `a ${dtypes.join(' or ')} tensor [${dims.join(', ')}]`;
  if (!(value instanceof DeviceTensor)) throw invalidArgument(name, expected, value);
  const fits =
    dtypes.includes(value.dtype) &&
    value.dims.length === dims.length &&
    dims.every((d, i) => typeof d === 'string' || d === value.dims[i]);
  if (!fits) {
    throw new InvalidArgumentError(
      `Expected ${expected} for ${name} but received ${value} of type DeviceTensor`,
      { subject: name },
    );
  }
  if (device && value.device !== device) {
    throw new InvalidArgumentError(
      `Expected a tensor on the device object of the other arguments (${device.name}) for ${name} ` +
        `but received one of another (${value.device.name})`,
      { subject: name },
    );
  }
  return value;
}

export function requireInteger(
  name: string,
  value: unknown,
  min: number,
  max = 2 ** 31 - 1,
): number {
  if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) {
    throw invalidArgument(name, `an integer from ${min} to ${max}`, value);
  }
  return value as number;
}

/** @throws {InvalidArgumentError} unless options are an object */
export function requireOptions<T>(options: T): T {
  if (typeof options === 'object' && options !== null) return options;
  throw invalidArgument('options', 'an object', options);
}

/** `expected` words the interval, `inside` decides it. */
export function requireNumber(
  name: string,
  value: unknown,
  expected: string,
  inside: (x: number) => boolean,
): number {
  if (typeof value !== 'number' || !inside(value)) throw invalidArgument(name, expected, value);
  return value;
}

/** The given output if it fits, else a new tensor. */
export function outputTensor(
  output: DeviceTensor | undefined,
  dtype: DType,
  dims: readonly number[],
  device: Device,
): DeviceTensor {
  if (output === undefined) return new DeviceTensor(device, dtype, dims);
  return requireTensor('output', output, [dtype], dims, device);
}

/** Length of a dimension that was checked to be there. */
export function dim(tensor: DeviceTensor, i: number): number {
  return tensor.dims[i] as number;
}
