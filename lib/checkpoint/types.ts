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

const MiB = 1024 * 1024;
/** Twice what the largest config.json asks for: 1024 layers of 16 tensors, and 3 outside of them. */
const TENSORS = 2 ** 15;

/**
 * Bounds on what a header may claim. Real checkpoints stay far below; a header above them is damaged or
 * hostile, and is refused before it costs memory.
 */
export const LIMITS = {
  tensors: TENSORS,
  /** 512 bytes a tensor; a real header takes 130 (45 KB for 13 billion parameters). The format allows 100 MB. */
  safetensorsHeaderBytes: TENSORS * 512,
  /** 8 values describe a tensor of two dimensions, 22 one of the highest rank. */
  safetensorsHeaderValues: TENSORS * 24,
  /** Of a sharded checkpoint's index: 512 bytes a tensor, too; a real one takes 100. */
  indexBytes: TENSORS * 512,
  /** One value a tensor, and as many for what else may stand there. */
  indexValues: TENSORS * 2,
  /** Of config.json and generation_config.json. Real ones have a few kilobytes; lists of token ids may be longer. */
  configBytes: 4 * MiB,
  configValues: 100_000,
  /** Keys of one object of a header or index: a tensor each, and what stands beside them. */
  jsonKeys: TENSORS + 64,
  /** Levels of any of these JSON texts; real ones have up to 4. */
  jsonDepth: 32,
  /** UTF-16 units of a tensor's name. */
  nameLength: 1024,
  rank: 16,
  /** The largest published checkpoints have 191. */
  shards: 1024,
  /** Of a .bin file: 1024 layers without biases have 9219 storages. */
  zipEntries: TENSORS / 2,
  /** 46 bytes, a name and a zip64 field an entry: about 120. */
  zipDirectoryBytes: (TENSORS / 2) * 512,
  /** UTF-8 bytes of an entry's name; `torch.save` writes the file's own name before `/data/123`. */
  zipNameBytes: 1024,
  /** 256 bytes for each tensor; torch.save writes about that many, for at most half as many tensors. */
  pickleBytes: TENSORS * 256,
  /** Instructions; torch.save writes about 60 a tensor. */
  pickleSteps: TENSORS * 128,
  /** What the values that a pickle makes may take in memory, estimated; a tensor takes 1.5 KB. */
  pickleMemory: TENSORS * 4096,
  /** Values on all its stacks. Python's pickler sets 1000 items at a time, the one of C++ all of them. */
  pickleStack: TENSORS * 2,
  /** Entries of all dicts; a state dict has one a tensor. */
  pickleEntries: TENSORS * 2,
  /** torch.save remembers about 20 values a tensor. */
  pickleMemo: TENSORS * 32,
  /** Items of one list; a state dict needs none. */
  pickleList: TENSORS,
  /** Dict keys other than strings; V8 hashes numbers so that many can be made to collide. */
  pickleOtherKeys: 4096,
  /** Bytes of an integer; the largest of torch.save is a 64-bit size. */
  pickleLongBytes: 16,
  /** Bytes of a global's module and of its name. */
  pickleGlobalBytes: 256,
  /** Nesting of dictionaries in a state dict. */
  nesting: 16,
} as const;
