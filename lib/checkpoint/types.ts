/**
 * A checkpoint as the loader sees it: names, element types, shapes and byte ranges. Nothing here holds
 * weights; opening a checkpoint reads headers only.
 */

/** Element types that a checkpoint may store, under PyTorch's names. */
export type StoredDtype =
  | 'float64'
  | 'float32'
  | 'float16'
  | 'bfloat16'
  | 'float8_e4m3fn'
  | 'float8_e5m2'
  | 'float8_e8m0fnu'
  | 'complex64'
  | 'complex128'
  | 'int64'
  | 'uint64'
  | 'int32'
  | 'uint32'
  | 'int16'
  | 'uint16'
  | 'int8'
  | 'uint8'
  | 'bool';

/** Bytes per element. All types are little-endian in the file. */
export const DTYPE_BYTES: Readonly<Record<StoredDtype, number>> = {
  float64: 8,
  float32: 4,
  float16: 2,
  bfloat16: 2,
  float8_e4m3fn: 1,
  float8_e5m2: 1,
  float8_e8m0fnu: 1,
  complex64: 8,
  complex128: 16,
  int64: 8,
  uint64: 8,
  int32: 4,
  uint32: 4,
  int16: 2,
  uint16: 2,
  int8: 1,
  uint8: 1,
  bool: 1,
};

/** One tensor and where its bytes are. Every range has been checked to lie inside the file. */
export interface TensorEntry {
  name: string;
  dtype: StoredDtype;
  /** Dimensions, outermost first; `[]` is a scalar. */
  shape: number[];
  /** Distance between neighbours along each dimension, in elements; row-major when contiguous. */
  strides: number[];
  /** Absolute path of the file. */
  file: string;
  /** Byte offset of element 0 in the file. safetensors does not promise that it is aligned. */
  offset: number;
  /** Bytes from element 0 to the end of the last element; 0 for a tensor without elements. */
  nbytes: number;
}

/** What {@link openCheckpoint} returns. */
export interface Checkpoint {
  format: 'safetensors' | 'pytorch';
  /** Absolute paths, in the order of their names. */
  files: string[];
  /** By name, in the order of the files and of the names within each file. */
  tensors: Map<string, TensorEntry>;
  /** Sum of elements * element size over all tensors; views of a shared storage count once each. */
  totalBytes: number;
}

/**
 * Bounds on what a header may claim. Real checkpoints stay far below; a header above them is damaged or
 * hostile, and is refused before it costs memory.
 */
export const LIMITS = {
  /** Bytes of a safetensors header: the format's own limit. */
  safetensorsHeaderBytes: 100_000_000,
  /** Bytes of a sharded checkpoint's index, and of any other JSON file. */
  jsonBytes: 64 * 1024 * 1024,
  tensors: 200_000,
  /** UTF-16 units of a tensor's name. */
  nameLength: 1024,
  rank: 16,
  shards: 10_000,
  zipEntries: 100_000,
  zipDirectoryBytes: 64 * 1024 * 1024,
  pickleBytes: 16 * 1024 * 1024,
  pickleStack: 100_000,
  /** Nesting of dictionaries in a state dict. */
  nesting: 16,
} as const;
