import { type InspectOptions, inspect } from 'node:util';
import { InvalidArgumentError, invalidArgument } from './errors.js';

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

function arrayFor(type: TensorType, size: number): TensorData {
  if (type === 'float32') return new Float32Array(size);
  if (type === 'int32') return new Int32Array(size);
  if (type === 'int64') return new BigInt64Array(size);
  return new Uint8Array(size);
}

/**
 * A dense row-major array on the host, as far as the library's surface needs one.
 *
 * `t[i]` is the i-th sub-tensor (or, for one dimension, the number), and iterating yields the same,
 * so that `gened[0]` and `for (const row of t)` read as they do in Python.
 */
export class Tensor implements Iterable<Tensor | number> {
  readonly type: TensorType;
  /** Lengths of the dimensions, outermost first; `[]` for a scalar. */
  readonly dims: readonly number[];
  /** Row-major elements; a view, not a copy. */
  readonly data: TensorData;
  readonly [index: number]: Tensor;

  constructor(
    type: TensorType,
    data: TensorData | readonly number[] | readonly bigint[],
    dims: readonly number[],
  ) {
    const size = dims.reduce((a, b) => a * b, 1);
    for (const d of dims) {
      if (!Number.isInteger(d) || d < 0) throw invalidArgument('dims', 'non-negative integers', d);
    }
    if (data.length !== size) {
      throw invalidArgument('data', `${size} elements for dims [${dims.join(', ')}]`, data.length);
    }
    this.type = type;
    this.dims = dims;
    if (ArrayBuffer.isView(data)) {
      this.data = data;
    } else {
      const out = arrayFor(type, size);
      for (let i = 0; i < size; i++) {
        const value = data[i] as number | bigint;
        out[i] = type === 'int64' ? BigInt(value) : Number(value);
      }
      this.data = out;
    }
    // biome-ignore lint/correctness/noConstructorReturn: t[i] is part of the surface and needs a proxy
    return new Proxy(this, indexed);
  }

  /** Rows of equal length to an int64 tensor [rows, length]. */
  static fromRows(rows: readonly (readonly number[])[]): Tensor {
    const width = rows[0]?.length ?? 0;
    const flat = new BigInt64Array(rows.length * width);
    rows.forEach((row, r) => {
      if (row.length !== width)
        throw invalidArgument('rows', `rows of length ${width}`, row.length);
      row.forEach((id, c) => {
        flat[r * width + c] = BigInt(id);
      });
    });
    return new Tensor('int64', flat, [rows.length, width]);
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
    const out = arrayFor(
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

  /** Nested arrays of plain numbers, whatever the element type. */
  tolist(): NestedNumbers {
    const { data, dims } = this;
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

const indexed: ProxyHandler<Tensor> = {
  get(target, key) {
    if (typeof key === 'string' && /^\d+$/.test(key)) return target.at(Number(key));
    return Reflect.get(target, key, target);
  },
  has(target, key) {
    if (typeof key === 'string' && /^\d+$/.test(key)) return Number(key) < target.length;
    return Reflect.has(target, key);
  },
};

/** Token ids in any accepted form, as rows of plain numbers. A flat list is one row. */
export function toRows(ids: TokenIds, name = 'input_ids'): number[][] {
  if (ids instanceof Tensor) {
    const list = ids.tolist();
    if (ids.dims.length === 1) return [list as number[]];
    if (ids.dims.length === 2) return list as number[][];
    throw invalidArgument(name, 'a tensor of 1 or 2 dimensions', ids.dims.length);
  }
  if (!Array.isArray(ids)) throw invalidArgument(name, 'a Tensor, number[][] or number[]', ids);
  const check = (id: unknown): number => {
    const n = typeof id === 'bigint' ? Number(id) : id;
    if (typeof n !== 'number' || !Number.isSafeInteger(n))
      throw invalidArgument(name, 'integer token ids', id);
    return n;
  };
  if (ids.length > 0 && (Array.isArray(ids[0]) || ids[0] instanceof Tensor)) {
    return (ids as readonly (readonly number[] | Tensor)[]).map((row) =>
      row instanceof Tensor ? (row.tolist() as number[]) : Array.from(row, check),
    );
  }
  return [Array.from(ids as readonly number[], check)];
}
