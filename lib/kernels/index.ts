/**
 * komt/kernels: the library's CUDA kernels on tensors in a GPU's memory.
 *
 * ```ts
 * import { device, DeviceTensor, gemm } from 'komt/kernels';
 *
 * using gpu = device('cuda');
 * const x = DeviceTensor.fromArray(gpu, [1, 2, 3, 4, 5, 6, 7, 8], [1, 8], 'float16');
 * const w = DeviceTensor.fromArray(gpu, new Float32Array(16).fill(0.5), [2, 8], 'float16');
 * console.log(gemm(x, w).toArray()); // Float32Array [18, 18]
 * ```
 *
 * Calls enqueue and return; reading a tensor waits. Arguments are checked for type, shape and device
 * before anything is launched; indices in device memory are the caller's responsibility.
 * @packageDocumentation
 */
export {
  DeviceError,
  DisposedError,
  InvalidArgumentError,
  KomtError,
  NativeLoadError,
  OutOfMemoryError,
} from '../errors.js';
export type { DeviceProperties, DType, HostArray } from '../native/kernels.js';
export { type AttentionOptions, attention } from './attention.js';
export { type Device, device, type MeasureOptions } from './device.js';
export { DeviceTensor } from './device-tensor.js';
export { type GemmEpilogue, type GemmOptions, gemm } from './gemm.js';
export { KvCache, type KvCacheOptions, PAGE_TOKENS } from './kv-cache.js';
export { type RmsNormOptions, rms_norm } from './rms-norm.js';
export { type RopeOptions, type RopeTarget, rope } from './rope.js';
export { type SampleOptions, type SampleResult, sample } from './sample.js';
