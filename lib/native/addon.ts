/**
 * The addon's raw interface, as native/addon/engine_object.cpp implements it. Everything here is
 * internal: it throws errors of its own (`kind`) for values out of range; lib/native words them first.
 */

import type { NativeSampling } from '../engine.js';
import type { NativeKernels } from './kernels.js';

/** Weight places, by number; the order is that of `enum class Slot` in native/engine/model.h. */
export const SLOTS = [
  'embed_tokens',
  'final_norm',
  'lm_head',
  'input_norm',
  'post_attention_norm',
  'q',
  'k',
  'v',
  'o',
  'gate',
  'up',
  'down',
  'q_bias',
  'k_bias',
  'v_bias',
  'o_bias',
  'gate_bias',
  'up_bias',
  'down_bias',
] as const;
export type SlotName = (typeof SLOTS)[number];

/** Types the engine keeps matrices in. */
export type ComputeDType = 'float32' | 'float16' | 'bfloat16';

export interface NativeRope {
  inv_freq: Float32Array;
  attention_scaling: number;
  dynamic: boolean;
  theta: number;
  factor: number;
  original_max_position: number;
}

export interface NativeModelConfig {
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  vocab_size: number;
  max_position_embeddings: number;
  rms_norm_eps: number;
  tie_word_embeddings: boolean;
  sliding_window: Int32Array;
  /** 0 = by itself. */
  cache_tokens: number;
  rope: NativeRope;
  dtype: ComputeDType;
}

export interface NativeWeightSource {
  slot: number;
  layer: number;
  name: string;
  dtype: string;
  shape: number[];
  strides: number[];
  file: string;
  offset: number;
}

export interface NativePlacement {
  device: string;
  layers: number;
}

/** An Error with what `toKomtError` needs to make one of the library's. */
export interface NativeError extends Error {
  kind?: string;
  bytesNeeded?: number;
  bytesFree?: number;
  file?: string;
  subject?: string;
}

type Done<T = void> = (error: NativeError | null, value: T) => void;

export interface NativeDecodeRequest {
  rows: {
    sequence: number;
    tokens: Int32Array;
    history: Int32Array;
    streamHash: bigint;
    streamLane: number;
    max_new_tokens: number;
  }[];
  sampling: NativeSampling;
  eos_token_ids: Int32Array;
  seed: bigint;
  logprobs: boolean;
  ask: boolean;
}

export interface NativeEngine {
  /** Returns a call id, answered through `onDone`. */
  load(
    config: NativeModelConfig,
    sources: NativeWeightSource[],
    placement: NativePlacement[],
    options: { threads: number; readerThreads: number },
    onProgress: (loaded: number, total: number, name: string) => void,
    onDone: Done,
  ): number;
  cancelLoad(): void;
  openSession(): number;
  closeSession(session: number): void;
  create(session: number, handle: number): void;
  fork(session: number, source: number, handle: number): void;
  truncate(session: number, handle: number, length: number): void;
  release(session: number, handle: number): void;
  /** wanted: 0 none, 1 last, 2 all. */
  forward(
    session: number,
    sequences: Int32Array,
    lengths: Int32Array,
    tokens: Int32Array,
    wanted: Int32Array,
    hidden: boolean,
    onDone: Done<{ logits: Float32Array; rows: number; hidden?: Float32Array }>,
  ): number;
  decode(
    session: number,
    request: NativeDecodeRequest,
    onStep: (step: number, tokens: Int32Array, logprobs: Float32Array | undefined) => void,
    onDone: Done,
  ): number;
  verdict(call: number, stop: Uint8Array): void;
  cancel(call: number): void;
  dispose(onDone: Done): void;
}

/** What was compiled in. */
export interface BuildInfo {
  version: string;
  /** 'cpu', and 'cuda' or 'cuda-emulated'. */
  backends: string[];
  /** CMake's architecture list, where CUDA was built. */
  cudaArchitectures?: string;
  compiler?: string;
}

/** A device that can be used now. */
export interface DeviceInfo {
  /** As in `device_map`: 'cpu', 'cuda:0', ... */
  name: string;
  /** The hardware's own name. */
  description: string;
  /** Bytes. */
  memoryTotal: number;
  /** Bytes. */
  memoryFree: number;
  /** Instruction sets, or the compute capability. */
  features: string[];
}

export interface NativeAddon {
  buildInfo(): BuildInfo;
  devices(): DeviceInfo[];
  Engine: new () => NativeEngine;
  /** Kernels one by one (lib/kernels), where CUDA or the emulator was built in. */
  kernels?: NativeKernels;
}
