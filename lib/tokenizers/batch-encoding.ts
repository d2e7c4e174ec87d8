import { InvalidArgumentError, invalidArgument } from '../errors.js';
import { Tensor } from '../tensor.js';
import type { Steps } from './steps.js';

/** One row of a batch before it is padded. */
export interface EncodedRow {
  ids: number[];
  /** Empty where they are not asked for. */
  typeIds: number[];
}

/** Ids as a caller gets them: one row, rows, or a tensor [rows, length]. */
export type EncodedIds = number[] | number[][] | Tensor;

/**
 * What calling a tokenizer gives: spread it into `generate()`. Every member is [rows, length]; without
 * `return_tensors` a single text gives flat lists.
 */
export class BatchEncoding<T extends EncodedIds = EncodedIds> {
  declare input_ids: T;
  /** 1 for tokens, 0 for padding. Absent with `return_attention_mask: false`. */
  declare attention_mask: T;
  /** Absent unless asked for. */
  declare token_type_ids?: T;

  constructor(members: { input_ids: T; attention_mask?: T; token_type_ids?: T }) {
    // Only members that are there become properties, so that spreading adds no undefined ones.
    Object.assign(this, members);
  }

  /** For code ported from PyTorch: data lives on the host and the engine moves it, so this returns `this`. */
  to(_device: string): this {
    return this;
  }
}

export type PaddingSide = 'left' | 'right';

/** How rows are brought to one length. */
export interface PadPlan {
  /** Length to pad to; rows that are longer stay. null: the longest row's. */
  length: number | null;
  side: PaddingSide;
  padId: number;
  /** The length becomes a multiple of this. */
  multiple: number;
}

export interface BatchPlan {
  /** null: rows keep their lengths. */
  pad: PadPlan | null;
  tensors: boolean;
  /** A single text without tensors gives flat lists. */
  single: boolean;
  attentionMask: boolean;
  typeIds: boolean;
}

function padded(row: readonly number[], length: number, side: PaddingSide, fill: number): number[] {
  const padding = new Array<number>(Math.max(0, length - row.length)).fill(fill);
  return side === 'left' ? padding.concat(row) : row.concat(padding);
}

/** Ids that become int64 at one go. */
const PIECE = 16_384;

/** As `Tensor.fromRows`, interruptible; the rows have equal lengths. */
function* tensorOf(rows: readonly (readonly number[])[]): Steps<Tensor> {
  const width = rows[0]?.length ?? 0;
  const data = new BigInt64Array(rows.length * width);
  for (let at = 0; at < data.length; at++) {
    if (at % PIECE === PIECE - 1) yield;
    data[at] = BigInt((rows[Math.floor(at / width)] as readonly number[])[at % width] as number);
  }
  return new Tensor('int64', data, [rows.length, width]);
}

/** Pads rows and puts them into the form asked for. */
export function* assembleBatch(rows: readonly EncodedRow[], plan: BatchPlan): Steps<BatchEncoding> {
  const { pad } = plan;
  const ids = rows.map((row) => row.ids);
  const wanted = pad?.length ?? ids.reduce((longest, row) => Math.max(longest, row.length), 0);
  const length = pad === null ? 0 : Math.ceil(wanted / pad.multiple) * pad.multiple;
  const fill = (matrix: number[][], value: number): number[][] =>
    pad === null ? matrix : matrix.map((row) => padded(row, length, pad.side, value));
  const inputIds = fill(ids, pad?.padId ?? 0);
  if (plan.tensors && inputIds.some((row) => row.length !== inputIds[0]?.length)) {
    throw new InvalidArgumentError(
      "Unable to create tensor, you should probably activate truncation and/or padding with 'padding=True' 'truncation=True' to have batched tensors with the same length",
      { subject: 'padding', found: ids.map((row) => row.length) },
    );
  }
  function* form(matrix: number[][]): Steps<EncodedIds> {
    if (plan.tensors) return yield* tensorOf(matrix);
    return plan.single ? (matrix[0] as number[]) : matrix;
  }
  const members: ConstructorParameters<typeof BatchEncoding<EncodedIds>>[0] = {
    input_ids: yield* form(inputIds),
  };
  if (plan.typeIds) {
    members.token_type_ids = yield* form(
      fill(
        rows.map((row) => row.typeIds),
        0,
      ),
    );
  }
  if (plan.attentionMask) {
    const ones = ids.map((row) => new Array<number>(row.length).fill(1));
    members.attention_mask = yield* form(fill(ones, 0));
  }
  return new BatchEncoding<EncodedIds>(members);
}

/** Whether `return_tensors` / `return_tensor` ask for tensors. */
export function wantsTensors(value: unknown): boolean {
  if (value === undefined || value === null || value === false) return false;
  if (value === true || value === 'pt' || value === 'np') return true;
  throw invalidArgument('return_tensors', "'pt', 'np', true or false", value);
}
