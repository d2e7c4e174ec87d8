/**
 * The raw interface of native/addon/kernels: numbers and sizes are checked there, and
 * worded in lib/kernels first. Each function enqueues on the device's stream and returns.
 */

/** Element types of a device tensor. */
export type DType = 'float16' | 'bfloat16' | 'float32' | 'int32' | 'uint8';

/** Host arrays that tensors are filled from and read into: float types through Float32Array. */
export type HostArray = Float32Array | Int32Array | Uint8Array;

export interface DeviceProperties {
  /** The hardware's own name. */
  name: string;
  /** Such as '9.0'. */
  computeCapability: string;
  multiProcessorCount: number;
  /** Bytes of the level 2 cache. */
  l2Bytes: number;
}

export interface NativeDevice {
  properties(): DeviceProperties;
  synchronize(): void;
  /** Records what `enqueue` launches, runs it `repeats` times; microseconds of each run. */
  measure(enqueue: () => void, repeats: number): Float64Array;
  dispose(): void;
}

export interface NativeTensor {
  write(values: HostArray, first: number): void;
  read<T extends HostArray>(target: T): T;
  copyFrom(source: NativeTensor): void;
  dispose(): void;
}

export interface NativeRopeTarget {
  positions: NativeTensor;
  ropeRows: NativeTensor;
  sequenceIds: NativeTensor;
  blockTable: NativeTensor;
  blockTableStride: number;
  cos: NativeTensor;
  sin: NativeTensor;
  keys: NativeTensor;
  values: NativeTensor;
  numHeads: number;
  numKvHeads: number;
  headDim: number;
}

export interface NativeKernels {
  Device: new (index: number) => NativeDevice;
  Tensor: new (device: NativeDevice, dtype: DType, count: number) => NativeTensor;
  gemm(
    device: NativeDevice,
    args: {
      rows: number;
      n: number;
      k: number;
      input: NativeTensor;
      weight: NativeTensor;
      bias?: NativeTensor;
      output: NativeTensor;
      /** Order of `enum class LinearEpilogue` in cuda/gemm/linear.h. */
      epilogue: number;
      rope?: NativeRopeTarget;
      normWeight?: NativeTensor;
      normEps: number;
      batchInvariant: boolean;
    },
  ): void;
  attention(
    device: NativeDevice,
    args: {
      query: NativeTensor;
      output: NativeTensor;
      keys: NativeTensor;
      values: NativeTensor;
      cuSeqlens: NativeTensor;
      kvLengths: NativeTensor;
      blockTable: NativeTensor;
      blockTableStride: number;
      numSequences: number;
      maxNewTokens: number;
      maxKvLength: number;
      numHeads: number;
      numKvHeads: number;
      headDim: number;
      scale: number;
      window: number;
    },
  ): void;
  rmsNorm(
    device: NativeDevice,
    args: {
      input: NativeTensor;
      weight: NativeTensor;
      output: NativeTensor;
      rows: number;
      hidden: number;
      eps: number;
    },
  ): void;
  ropeAppend(
    device: NativeDevice,
    args: NativeRopeTarget & { qkv: NativeTensor; query: NativeTensor; numTokens: number },
  ): void;
  copyPages(
    device: NativeDevice,
    args: {
      sourceKeys: NativeTensor;
      sourceValues: NativeTensor;
      targetKeys: NativeTensor;
      targetValues: NativeTensor;
      sourcePages?: NativeTensor;
      targetPages?: NativeTensor;
      count: number;
      pageBytes: number;
    },
  ): void;
  sample(
    device: NativeDevice,
    args: {
      logits: NativeTensor;
      rows: number;
      vocab: number;
      doSample: boolean;
      temperature: number;
      topK: number;
      topP: number;
      minP: number;
      typicalP: number;
      repetitionPenalty: number;
      eosTokenIds?: NativeTensor;
      numEos: number;
      minSteps?: NativeTensor;
      steps?: NativeTensor;
      seed: bigint;
      streamHashes?: NativeTensor;
      streamLanes?: NativeTensor;
      seen?: NativeTensor;
      tokens: NativeTensor;
      logprobs?: NativeTensor;
    },
  ): void;
}
