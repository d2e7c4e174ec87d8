import { invalidArgument } from '../errors.js';
import { guard } from '../native/errors.js';
import { dim, HALF, outputTensor, requireNumber, requireTensor } from './checks.js';
import type { DeviceTensor } from './device-tensor.js';

export interface RmsNormOptions {
  /** Added to the mean square. Default 1e-6, as in Hugging Face's LlamaRMSNorm. */
  eps?: number;
  /** Type of a new output. Default 'float16'. */
  dtype?: 'float16' | 'bfloat16' | 'float32';
  /** [rows, hidden_size]; may be `input` itself, which is float32. Default: a new tensor. */
  output?: DeviceTensor;
}

/**
 * Root mean square norm: `input / sqrt(mean(input^2) + eps) * weight` for each row, in float32, rounded
 * once. The residual stream is float32 as in the engine.
 * @param input float32 [rows, hidden_size]
 * @param weight float32 [hidden_size]
 * @returns [rows, hidden_size] of `dtype`
 */
export function rms_norm(
  input: DeviceTensor,
  weight: DeviceTensor,
  options: RmsNormOptions = {},
): DeviceTensor {
  requireTensor('input', input, ['float32'], ['rows', 'hidden_size']);
  const [rows, hidden] = [dim(input, 0), dim(input, 1)];
  const { device } = input;
  requireTensor('weight', weight, ['float32'], [hidden], device);
  const eps = requireNumber('eps', options.eps ?? 1e-6, 'a number >= 0', (x) => x >= 0);
  const dtype = options.output?.dtype ?? options.dtype ?? 'float16';
  if (dtype !== 'float32' && !HALF.includes(dtype)) {
    throw invalidArgument('dtype', `'float32', 'float16' or 'bfloat16'`, dtype);
  }
  const output = outputTensor(options.output, dtype, [rows, hidden], device);
  guard(() =>
    device.kernels.rmsNorm(device.handle, {
      input: input.handle,
      weight: weight.handle,
      output: output.handle,
      rows,
      hidden,
      eps,
    }),
  );
  return output;
}
