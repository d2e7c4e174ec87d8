import { invalidArgument } from '../errors.js';
import { guard } from '../native/errors.js';
import type { DType } from '../native/kernels.js';
import { dim, HALF, outputTensor, requireNumber, requireOptions, requireTensor } from './checks.js';
import type { DeviceTensor } from './device-tensor.js';
import { nativeRopeTarget, type RopeTarget } from './rope.js';

/** Order of `enum class LinearEpilogue` in cuda/gemm/linear.h. */
const EPILOGUES = ['store', 'residual_add', 'silu_gate', 'rope_append'] as const;

/**
 * What becomes of `y = input weight^T + bias`:
 * - 'store': output [m, n] = y
 * - 'residual_add': output [m, n] += y; `output` (float32) is required
 * - 'silu_gate': output [m, n / 2] = silu(y[2i]) * y[2i + 1]; gate and up rows alternate in the weight
 * - 'rope_append': weight rows are q, k and v heads; queries are rotated into the output, rotated keys
 *   and values go to the cache; `rope` is required
 */
export type GemmEpilogue = (typeof EPILOGUES)[number];

export interface GemmOptions {
  /** float32 [n]. */
  bias?: DeviceTensor;
  /** Default 'store'. */
  epilogue?: GemmEpilogue;
  /** Type of a new output of 'store'. Default: the weight's. */
  dtype?: 'float16' | 'bfloat16' | 'float32';
  /** For 'rope_append'. */
  rope?: RopeTarget;
  /**
   * RMSNorm of the input in front, in float32: `weight` float32 [k], `eps` as in `rms_norm`; the input is
   * float32 then. Only for a single row without `batchInvariant`.
   */
  norm?: { weight: DeviceTensor; eps: number };
  /**
   * A row's result has the same bits whatever the number of rows; otherwise a row computed alone may
   * differ in the last bits of its sum. Default false.
   */
  batchInvariant?: boolean;
  /** Default: a new tensor. */
  output?: DeviceTensor;
}

function outputShape(
  epilogue: GemmEpilogue,
  [m, n]: [number, number],
  weight: DeviceTensor,
  options: GemmOptions,
): { dtype: DType; dims: number[] } {
  switch (epilogue) {
    case 'residual_add':
      if (!options.output) {
        throw invalidArgument('output', 'the tensor that residual_add adds to', options.output);
      }
      return { dtype: 'float32', dims: [m, n] };
    case 'silu_gate':
      if (n % 2 !== 0) throw invalidArgument('weight', 'an even number of rows for silu_gate', n);
      return { dtype: weight.dtype, dims: [m, n / 2] };
    case 'rope_append': {
      const { cache, num_attention_heads: heads } = options.rope as RopeTarget;
      const rows = (heads + 2 * cache.num_key_value_heads) * cache.head_dim;
      if (n !== rows || cache.dtype !== weight.dtype) {
        throw invalidArgument(
          'weight',
          `${cache.dtype} with ${rows} rows for rope_append`,
          `${weight}`,
        );
      }
      return { dtype: weight.dtype, dims: [m, heads * cache.head_dim] };
    }
    default: {
      const dtype = options.output?.dtype ?? options.dtype ?? weight.dtype;
      if (dtype !== 'float32' && dtype !== weight.dtype) {
        throw invalidArgument('dtype', `'float32' or the weight's ${weight.dtype}`, dtype);
      }
      return { dtype, dims: [m, n] };
    }
  }
}

/**
 * Matrix product with a weight in PyTorch's layout, `y = input weight^T + bias`, accumulated in float32,
 * and what happens to `y` next. One row runs as a matrix-vector product at the speed of memory, more
 * rows on the tensor cores.
 * @param input [m, k] of the weight's type; float32 with `norm`
 * @param weight float16 or bfloat16 [n, k], k a multiple of 8, n * k < 2^34
 * @returns the output
 */
export function gemm(
  input: DeviceTensor,
  weight: DeviceTensor,
  options: GemmOptions = {},
): DeviceTensor {
  const { bias, norm, epilogue = 'store', batchInvariant = false } = requireOptions(options);
  if (!EPILOGUES.includes(epilogue)) {
    throw invalidArgument('epilogue', `one of ${EPILOGUES.join(', ')}`, epilogue);
  }
  requireTensor('weight', weight, HALF, ['n', 'k']);
  const { device } = weight;
  const [n, k] = [dim(weight, 0), dim(weight, 1)];
  if (n < 1) throw invalidArgument('weight', 'at least one row', n);
  if (k < 8 || k % 8 !== 0) throw invalidArgument('weight', 'a multiple of 8 columns', k);
  if (n * k >= 2 ** 34) throw invalidArgument('weight', 'fewer than 2^34 elements', n * k);
  requireTensor('input', input, [norm ? 'float32' : weight.dtype], ['m', k], device);
  const m = dim(input, 0);
  if (m * k >= 2 ** 34) throw invalidArgument('input', 'fewer than 2^34 elements', m * k);
  if (bias) requireTensor('bias', bias, ['float32'], [n], device);
  let normEps = 0;
  if (norm) {
    requireTensor('norm.weight', norm.weight, ['float32'], [k], device);
    normEps = requireNumber('norm.eps', norm.eps, 'a number >= 0', (x) => x >= 0);
  }
  if (epilogue === 'rope_append' && !options.rope) {
    throw invalidArgument('rope', 'a target for rope_append', options.rope);
  }
  const rope = epilogue === 'rope_append' ? options.rope : undefined;
  const nativeRope = rope && nativeRopeTarget(rope, m, device);
  const { dtype, dims } = outputShape(epilogue, [m, n], weight, options);
  const output = outputTensor(options.output, dtype, dims, device);
  guard(() =>
    device.kernels.gemm(device.handle, {
      rows: m,
      n,
      k,
      input: input.handle,
      weight: weight.handle,
      bias: bias?.handle,
      output: output.handle,
      epilogue: EPILOGUES.indexOf(epilogue),
      rope: nativeRope,
      normWeight: norm?.weight.handle,
      normEps,
      batchInvariant,
    }),
  );
  return output;
}
