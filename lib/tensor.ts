import { type InspectOptions, inspect } from 'node:util';
import { InvalidArgumentError, invalidArgument, OutOfMemoryError } from './errors.js';
import { isListOf } from './list-of.js';

/** Element types a {@link Tensor} can hold, under PyTorch's names. */
export type TensorType = 'float32' | 'int32' | 'int64' | 'uint8' | 'bool';

/** Backing stores; int64 data may come in as BigInt and is read as plain numbers. */
export type TensorData = Float32Array | Int32Array | BigInt64Array | Uint8Array;

/** What `tolist()` gives: numbers nested as deep as the tensor has dimensions. */
export type NestedNumbers = number | NestedNumbers[];

/** Token ids wherever the library takes them: a Tensor, rows, or one row. */
export type TokenIds = Tensor | readonly (readonly number[])[] | readonly number[];

/** Elements above which `console.log` shows the dimensions alone. */
const MAX_SHOWN = 1000;

/** Dimensions of one tensor, as in NumPy. */
export const MAX_DIMENSIONS = 64;

/** Elements of one tensor: what a typed array can hold in every supported Node. */
const MAX_ELEMENTS = 2 ** 32 - 1;

/** Elements that `tolist` gives: numbers in V8's heap take 8 bytes each, and it has 2 to 4 GB. */
const MAX_LISTED = 2 ** 26;

const STORES = {
  float32: Float32Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const satisfies Record<TensorType, unknown>;

/**
 * Zeros.
 * @throws OutOfMemoryError
 */
export function elementsFor<T extends TensorType>(
  type: T,
  size: number,
): InstanceType<(typeof STORES)[T]> {
  try {
    return new STORES[type](size) as InstanceType<(typeof STORES)[T]>;
  } catch (cause) {
    const bytesNeeded = size * STORES[type].BYTES_PER_ELEMENT;
    throw new OutOfMemoryError('There is no memory for a tensor of this size', {
      subject: type,
      found: `${size} elements, ${bytesNeeded} bytes`,
      remedy: 'Work on smaller batches, or on shorter texts.',
      bytesNeeded,
      cause,
    });
  }
}

function checkDims(dims: readonly number[]): readonly number[] {
  if (!Array.isArray(dims) || dims.length > MAX_DIMENSIONS) {
    throw invalidArgument('dims', `a list of at most ${MAX_DIMENSIONS} lengths`, dims);
  }
  const copy = [...dims];
  let extent = 1;
  for (const d of copy) {
    if (!Number.isInteger(d) || d < 0) throw invalidArgument('dims', 'non-negative integers', d);
    extent *= Math.max(d, 1);
  }
  // Empty dimensions do not excuse the others: loops run over them.
  if (extent > MAX_ELEMENTS) {
    throw invalidArgument('dims', `at most ${MAX_ELEMENTS} elements`, `[${copy.join(', ')}]`);
  }
  return copy;
}

/** Numbers or BigInts as elements of a type. */
function convert(type: TensorType, values: ArrayLike<unknown>, size: number): TensorData {
  const check = (value: unknown): void => {
    const isNumber = typeof value === 'number' || typeof value === 'bigint';
    const fits =
      type === 'float32'
        ? isNumber
        : type === 'bool'
          ? isNumber || typeof value === 'boolean'
          : typeof value === 'bigint' || Number.isSafeInteger(value);
    if (!fits) {
      throw invalidArgument('data', type === 'float32' ? 'numbers' : `integers for ${type}`, value);
    }
  };
  // Before memory is taken for them: a list may claim any length.
  for (let i = 0; i < size; i++) check(values[i]);
  const out: TensorData = elementsFor(type, size);
  for (let i = 0; i < size; i++) {
    const element = values[i] as number | bigint;
    if (type === 'bool') out[i] = Number(element) === 0 ? 0 : 1;
    else out[i] = type === 'int64' ? BigInt(element) : Number(element);
  }
  return out;
}

/** A whole number as a property's name. */
const INDEX = /^\d+$/;

/**
 * What stands behind {@link Tensor}'s prototype and answers for `t[0]`. Tensors themselves are no
 * proxies: those could be sent to no worker and copied by no `structuredClone`.
 */
const INDEXED = new Proxy(Object.create(Object.prototype) as object, {
  get(target, key, receiver) {
    if (typeof key === 'string' && INDEX.test(key) && receiver instanceof Tensor) {
      return receiver.at(Number(key));
    }
    return Reflect.get(target, key, receiver);
  },
  // The trap is not told for which tensor; Array's methods ask up to the length only.
  has: (target, key) => (typeof key === 'string' && INDEX.test(key)) || Reflect.has(target, key),
});

/**
 * A dense row-major array on the host, as far as the library's surface needs one.
 *
 * `t[i]` is the i-th sub-tensor (or, for one dimension, the number), and iterating yields the same,
 * so that `gened[0]` and `for (const row of t)` read as they do in Python.
 *
 * `structuredClone` and `postMessage` carry `{ type, dims, data }`, which the constructor takes again:
 * `new Tensor(copy.type, copy.data, copy.dims)`. A view carries all of the memory it looks at; take a
 * `slice` of what is wanted.
 */
export class Tensor implements Iterable<Tensor | number> {
  readonly type: TensorType;
  /** Lengths of the dimensions, outermost first; `[]` for a scalar. */
  readonly dims: readonly number[];
  /** Row-major elements; a view, not a copy. */
  readonly data: TensorData;
  readonly [index: number]: Tensor;

  /**
   * @param data a typed array of the type is taken as it is, anything else is copied.
   * @throws InvalidArgumentError for data that do not fit the type or the dims
   */
  constructor(
    type: TensorType,
    data: TensorData | readonly number[] | readonly bigint[],
    dims: readonly number[],
  ) {
    if (typeof type !== 'string' || !Object.hasOwn(STORES, type)) {
      throw invalidArgument('type', `one of ${Object.keys(STORES).join(', ')}`, type);
    }
    const isView = ArrayBuffer.isView(data) && !(data instanceof DataView);
    if (!isView && !Array.isArray(data)) {
      throw invalidArgument('data', 'a typed array or a list of numbers', data);
    }
    const lengths = checkDims(dims);
    const size = lengths.reduce((a, b) => a * b, 1);
    if (data.length !== size) {
      throw invalidArgument(
        'data',
        `${size} elements for dims [${lengths.join(', ')}]`,
        data.length,
      );
    }
    this.type = type;
    this.dims = lengths;
    this.data = data instanceof STORES[type] ? data : convert(type, data, size);
  }

  /** Rows of equal length to an int64 tensor [rows, length]. */
  static fromRows(rows: readonly (readonly number[])[]): Tensor {
    if (!isListOf(rows, Array.isArray)) {
      throw invalidArgument('rows', 'a list of rows', rows);
    }
    const width = rows[0]?.length ?? 0;
    const dims = checkDims([rows.length, width]);
    // Before memory is taken for them: a row may claim any length.
    for (const row of rows) {
      if (row.length !== width)
        throw invalidArgument('rows', `rows of length ${width}`, row.length);
      for (let c = 0; c < width; c++) {
        if (!Number.isSafeInteger(row[c])) throw invalidArgument('rows', 'integers', row[c]);
      }
    }
    const flat = elementsFor('int64', rows.length * width);
    rows.forEach((row, r) => {
      for (let c = 0; c < width; c++) flat[r * width + c] = BigInt(row[c] as number);
    });
    return new Tensor('int64', flat, dims);
  }

  /** Number of elements. */
  get size(): number {
    return this.data.length;
  }

  /** As `dims`, under PyTorch's name. */
  get shape(): readonly number[] {
    return this.dims;
  }

  /** Number of sub-tensors along the first dimension. */
  get length(): number {
    return this.dims[0] ?? 0;
  }

  /** The i-th sub-tensor along the first dimension, sharing memory. Negative indices count from the end. */
  at(index: number): Tensor | number | undefined {
    if (!Number.isInteger(index)) throw invalidArgument('index', 'an integer', index);
    const n = this.dims[0];
    const i = index < 0 ? index + (n ?? 0) : index;
    if (n === undefined || i < 0 || i >= n) return undefined;
    if (this.dims.length === 1) return Number(this.data[i]);
    const rest = this.dims.slice(1);
    const step = rest.reduce((a, b) => a * b, 1);
    return new Tensor(this.type, this.data.subarray(i * step, (i + 1) * step), rest);
  }

  /**
   * A copy of parts, one range a dimension: `null` is all of it, `[start, end]` the elements from
   * start to end, end excluded and `null` standing for the last. Negative numbers count from the end.
   *
   * @example out.slice(null, [inputs.input_ids.dims[1], null]) // Python: out[:, inputs.input_ids.shape[1]:]
   * @throws InvalidArgumentError for more ranges than dimensions, or what is no range
   */
  slice(...ranges: readonly (null | readonly [number | null, number | null])[]): Tensor {
    const { dims } = this;
    if (ranges.length > dims.length) {
      throw invalidArgument('slice', `at most ${dims.length} ranges`, ranges.length);
    }
    const bounds = dims.map((n, d) => {
      const range = ranges[d] ?? [0, null];
      const isBound = (x: unknown) => x === null || Number.isInteger(x);
      if (!Array.isArray(range) || range.length !== 2 || !range.every(isBound)) {
        throw new InvalidArgumentError('slice takes null or [start, end] for each dimension', {
          subject: 'slice',
          found: range,
          remedy: 'Write slice([n, null]) for everything from n on, at(n) for one element.',
        });
      }
      const [start, end] = range as [number | null, number | null];
      const clamp = (x: number) => Math.min(Math.max(x < 0 ? x + n : x, 0), n);
      const first = clamp(start ?? 0);
      return { first, length: Math.max(0, clamp(end ?? n) - first) };
    });
    const lengths = bounds.map(({ length }) => length);
    const out: TensorData = elementsFor(
      this.type,
      lengths.reduce((a, b) => a * b, 1),
    );
    let at = 0;
    const copy = (depth: number, offset: number) => {
      const { first, length } = bounds[depth] as { first: number; length: number };
      const start = offset * (dims[depth] as number) + first;
      if (depth === dims.length - 1) {
        // All arrays are of one type; TypeScript cannot see that they are of the same one.
        (out as Float32Array).set(this.data.subarray(start, start + length) as Float32Array, at);
        at += length;
      } else {
        for (let i = 0; i < length; i++) copy(depth + 1, start + i);
      }
    };
    if (dims.length === 0) return new Tensor(this.type, this.data.slice(), []);
    copy(0, 0);
    return new Tensor(this.type, out, lengths);
  }

  /** The only element of a tensor of size 1. */
  item(): number {
    if (this.size !== 1) throw invalidArgument('tensor', 'exactly one element', this.size);
    return Number(this.data[0]);
  }

  /**
   * Nested arrays of plain numbers, whatever the element type.
   * @throws InvalidArgumentError for more elements than V8's heap could hold as numbers
   */
  tolist(): NestedNumbers {
    const { data, dims } = this;
    const extent = dims.reduce((a, b) => a * Math.max(b, 1), 1);
    if (extent > MAX_LISTED) {
      throw new InvalidArgumentError('A tensor of this size cannot be a list of numbers', {
        subject: 'tolist',
        expected: `at most ${MAX_LISTED} elements`,
        found: extent,
        remedy: 'Read `data`, or take a slice.',
      });
    }
    const walk = (depth: number, offset: number, step: number): NestedNumbers => {
      if (depth === dims.length) return Number(data[offset]);
      const n = dims[depth] as number;
      const inner = n === 0 ? 0 : step / n;
      return Array.from({ length: n }, (_, i) => walk(depth + 1, offset + i * inner, inner));
    };
    return walk(0, 0, this.size);
  }

  /** For `JSON.stringify`, which knows no BigInt: as {@link tolist}. */
  toJSON(): NestedNumbers {
    return this.tolist();
  }

  /** What `console.log` shows: plain numbers, whatever the element type. */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    const elements = this.size <= MAX_SHOWN ? inspect(this.tolist(), options) : '...';
    return `Tensor(${this.type}, [${this.dims.join(', ')}]) ${elements}`;
  }

  /** For code ported from PyTorch: data lives on the host and the engine moves it, so this returns `this`. */
  to(_device: string): this {
    return this;
  }

  *[Symbol.iterator](): Generator<Tensor | number> {
    for (let i = 0; i < this.length; i++) yield this.at(i) as Tensor | number;
  }
}

Object.setPrototypeOf(Tensor.prototype, INDEXED);

function toId(id: unknown, name: string): number {
  const n = typeof id === 'bigint' ? Number(id) : id;
  if (typeof n !== 'number' || !Number.isSafeInteger(n)) {
    throw invalidArgument(name, 'integer token ids', id);
  }
  return n;
}

/** Token ids in any accepted form, as rows of plain numbers. A flat list is one row. */
export function toRows(ids: TokenIds, name = 'input_ids'): number[][] {
  if (ids instanceof Tensor) {
    const list = ids.tolist();
    if (ids.dims.length === 1) return [list as number[]];
    if (ids.dims.length === 2) return list as number[][];
    throw invalidArgument(name, 'a tensor of 1 or 2 dimensions', ids.dims.length);
  }
  if (!Array.isArray(ids)) throw invalidArgument(name, 'a Tensor, number[][] or number[]', ids);
  const row = (value: unknown): number[] => {
    if (value instanceof Tensor && value.dims.length === 1) return value.tolist() as number[];
    if (!Array.isArray(value)) throw invalidArgument(name, 'rows of token ids', value);
    return Array.from(value, (id) => toId(id, name));
  };
  const isRow = (value: unknown): boolean => Array.isArray(value) || value instanceof Tensor;
  return ids.length > 0 && isRow(ids[0]) ? Array.from(ids, row) : [row(ids)];
}
