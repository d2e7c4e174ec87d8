import { InvalidArgumentError, invalidArgument } from '../errors.js';
import { Tensor } from '../tensor.js';

/** One row of a batch before it is padded. */
export interface EncodedRow {
  ids: number[];
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
  return side === 'left' ? [...padding, ...row] : [...row, ...padding];
}

/** Pads rows and puts them into the form asked for. */
export function assembleBatch(rows: readonly EncodedRow[], plan: BatchPlan): BatchEncoding {
  const { pad } = plan;
  let ids = rows.map((row) => row.ids);
  let mask = ids.map((row) => new Array<number>(row.length).fill(1));
  let types = rows.map((row) => row.typeIds);
  if (pad !== null) {
    const length = pad.length ?? ids.reduce((longest, row) => Math.max(longest, row.length), 0);
    const fill = (matrix: number[][], value: number) =>
      matrix.map((row) => padded(row, length, pad.side, value));
    ids = fill(ids, pad.padId);
    mask = fill(mask, 0);
    types = fill(types, 0);
  }
  if (plan.tensors && ids.some((row) => row.length !== ids[0]?.length)) {
    throw new InvalidArgumentError(
      "Unable to create tensor, you should probably activate truncation and/or padding with 'padding=True' 'truncation=True' to have batched tensors with the same length",
      { subject: 'padding', found: ids.map((row) => row.length) },
    );
  }
  const form = (matrix: number[][]): EncodedIds => {
    if (plan.tensors) return Tensor.fromRows(matrix);
    return plan.single ? (matrix[0] as number[]) : matrix;
  };
  return new BatchEncoding<EncodedIds>({
    input_ids: form(ids),
    ...(plan.typeIds ? { token_type_ids: form(types) } : {}),
    ...(plan.attentionMask ? { attention_mask: form(mask) } : {}),
  });
}

/** Whether `return_tensors` / `return_tensor` ask for tensors. */
export function wantsTensors(value: unknown): boolean {
  if (value === undefined || value === null || value === false) return false;
  if (value === true || value === 'pt' || value === 'np') return true;
  throw invalidArgument('return_tensors', "'pt', 'np', true or false", value);
}
