import { InvalidArgumentError, invalidArgument, show } from '../errors.js';
import type { TimeSlice } from '../time-slice.js';
import { Callable, CallableList } from './callable.js';
import { checkRows } from './checks.js';
import type { CallScope } from './user-code.js';

/**
 * What changes scores before a token is chosen.
 *
 * @param input_ids ids so far, prompt and left padding included, one list a row. They are the
 *   live lists: read them, copy what you keep.
 * @param scores one float32 array of vocab_size a row: logits, or log-probabilities under beam
 *   search.
 * @returns the new scores, one array a row; changing the given arrays and returning them is fine.
 */
export type LogitsProcessorFunction = (
  input_ids: number[][],
  scores: Float32Array[],
) => Float32Array[];

/** Anything `logits_processor` accepts as one processor. */
export type LogitsProcessorLike = LogitsProcessor | LogitsProcessorFunction;

/** Instances can be called; see {@link LogitsProcessorFunction}. */
export interface LogitsProcessor {
  (input_ids: number[][], scores: Float32Array[]): Float32Array[];
  /**
   * Called and awaited before each step's pass over the processors, for processors that need
   * something asynchronous first.
   *
   * @param input_ids as `_call` will get them.
   * @param active false for rows that have finished, whose scores no longer matter.
   */
  prepare?(input_ids: number[][], active: readonly boolean[]): Promise<void>;
  /**
   * Beam search has permuted the rows: row i now continues what was row `parents[i]`. For
   * processors that keep state per row.
   */
  reorder?(parents: readonly number[]): void;
}

/**
 * Base class of logits processors (transformers `LogitsProcessor`). Subclass it and define
 * `_call(input_ids, scores)`; instances can be called.
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: Callable gives instances this call signature
export abstract class LogitsProcessor extends Callable {
  /** See {@link LogitsProcessorFunction}. */
  abstract _call(input_ids: number[][], scores: Float32Array[]): Float32Array[];
}

/**
 * A processor that looks at each row by itself, so that many rows can be worked through in slices.
 * The built-in ones are.
 */
export abstract class RowLogitsProcessor extends LogitsProcessor {
  /**
   * The new scores of one row.
   *
   * @param ids of this row, prompt and left padding included.
   * @param scores are left as they are.
   * @param r the row's number.
   */
  abstract processRow(ids: number[], scores: Float32Array, r: number): Float32Array;

  _call(input_ids: number[][], scores: Float32Array[]): Float32Array[] {
    checkRows(input_ids, scores);
    return scores.map((row, r) => this.processRow(input_ids[r] as number[], row, r));
  }
}

function isRowWise(processor: LogitsProcessorLike): processor is RowLogitsProcessor {
  // A subclass may have a `_call` of its own.
  return (
    processor instanceof RowLogitsProcessor &&
    processor._call === RowLogitsProcessor.prototype._call
  );
}

export interface LogitsProcessorList {
  // biome-ignore lint/style/useShorthandFunctionType: merges with the class
  (input_ids: number[][], scores: Float32Array[]): Float32Array[];
}

/** Processors in the order they apply (transformers `LogitsProcessorList`). Can be called. */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: Callable gives instances this call signature
export class LogitsProcessorList extends CallableList<LogitsProcessorLike> {
  _call(input_ids: number[][], scores: Float32Array[]): Float32Array[] {
    checkRows(input_ids, scores);
    return this.items.reduce((rows, processor) => processed(processor, input_ids, rows), scores);
  }

  /** As a call of the list, in slices between which the event loop slice. */
  async run(
    input_ids: number[][],
    scores: Float32Array[],
    slice: TimeSlice,
  ): Promise<Float32Array[]> {
    let rows = scores;
    for (const processor of this.items) {
      if (isRowWise(processor)) {
        const out: Float32Array[] = [];
        for (const [r, row] of rows.entries()) {
          out.push(processor.processRow(input_ids[r] as number[], row, r));
          if (slice.due()) await slice.next();
        }
        rows = out;
      } else {
        rows = processed(processor, input_ids, rows);
        if (slice.due()) await slice.next();
      }
    }
    return rows;
  }

  /** Runs every processor's `prepare`, in order; waits no longer than the call does. */
  async prepare(
    input_ids: number[][],
    active: readonly boolean[],
    scope: CallScope,
  ): Promise<void> {
    for (const p of this.items) {
      if (p instanceof LogitsProcessor && p.prepare) {
        await scope.wait(p.prepare(input_ids, active));
      }
    }
  }

  /** Runs every processor's `reorder`. */
  reorder(parents: readonly number[]): void {
    for (const p of this.items) if (p instanceof LogitsProcessor) p.reorder?.(parents);
  }
}

/** What one processor makes of the scores, checked. */
function processed(
  processor: LogitsProcessorLike,
  input_ids: number[][],
  scores: Float32Array[],
): Float32Array[] {
  const out: unknown = processor(input_ids, scores);
  if (!Array.isArray(out) || out.length !== scores.length) {
    throw invalidArgument(
      `the result of logits processor ${processorName(processor)}`,
      `${scores.length} rows of scores`,
      out,
    );
  }
  // Not forEach, which passes over holes.
  for (const [r, row] of (out as unknown[]).entries()) {
    const width = scores[r]?.length;
    if (row instanceof Float32Array && row.length === width) continue;
    throw new InvalidArgumentError(
      `Row ${r} of the result of logits processor ${processorName(processor)} is malformed`,
      {
        subject: 'logits_processor',
        expected: `a Float32Array of ${width} scores`,
        found: row instanceof Float32Array ? `${row.length} scores` : typeof row,
      },
    );
  }
  return out;
}

function processorName(processor: LogitsProcessorLike): string {
  return show(processor instanceof LogitsProcessor ? processor.constructor.name : processor.name);
}

/**
 * A processor, a function, an array of either or a list, as a list.
 *
 * @throws InvalidArgumentError for anything else.
 */
export function toLogitsProcessorList(
  value: LogitsProcessorLike | Iterable<LogitsProcessorLike> | null | undefined,
): LogitsProcessorList {
  if (value === null || value === undefined) return new LogitsProcessorList();
  if (value instanceof LogitsProcessorList) return value;
  const items = typeof value === 'function' && !(Symbol.iterator in value) ? [value] : value;
  if (typeof (items as Iterable<LogitsProcessorLike>)[Symbol.iterator] !== 'function') {
    throw invalidArgument('logits_processor', 'a LogitsProcessor, a function or a list', value);
  }
  const list = new LogitsProcessorList(items as Iterable<LogitsProcessorLike>);
  for (const item of list) {
    if (typeof item !== 'function') {
      throw invalidArgument('logits_processor', 'LogitsProcessor instances or functions', item);
    }
  }
  return list;
}
