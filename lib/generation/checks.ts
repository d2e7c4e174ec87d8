/** What the arguments of processors and criteria have to be, in one wording. */

import { invalidArgument } from '../errors.js';
import { isListOf } from '../list-of.js';
import { checkLimit, MAX_LISTED_TOKENS, MAX_ROWS, MAX_TOKEN_ID } from './limits.js';

export function isTokenId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MAX_TOKEN_ID;
}

/** An integer in an interval. */
export function requireCount(subject: string, value: unknown, min: number, max: number): number {
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) {
    return value as number;
  }
  throw invalidArgument(subject, `an integer from ${min} to ${max}`, value);
}

/** One token id or several, as a list of its own. */
export function requireIds(
  subject: string,
  ids: number | readonly number[],
  limit = MAX_LISTED_TOKENS,
): readonly number[] {
  const list = typeof ids === 'number' ? [ids] : ids;
  if (!Array.isArray(list)) throw invalidArgument(subject, 'a token id or a list of them', ids);
  checkLimit(subject, list.length, limit, 'tokens');
  const copy: unknown[] = [...list];
  const wrong = copy.findIndex((id) => !isTokenId(id));
  if (wrong >= 0) throw invalidArgument(subject, `ids from 0 to ${MAX_TOKEN_ID}`, copy[wrong]);
  return copy as number[];
}

/** Lists of token ids, one a row; lists of their own. */
export function requireRows(
  subject: string,
  rows: readonly (readonly number[])[],
): readonly (readonly number[])[] {
  if (!Array.isArray(rows)) throw invalidArgument(subject, 'lists of token ids', rows);
  checkLimit(subject, rows.length, MAX_ROWS, 'rows');
  return Array.from(rows, (row) => requireIds(subject, row, Number.POSITIVE_INFINITY));
}

/** Left padding of each row, where there is any. */
export function requirePadding(padding: readonly number[] | null): readonly number[] | null {
  if (padding === null || padding === undefined) return null;
  return requireIds('padding', padding);
}

/** @throws InvalidArgumentError unless ids are rows, lists of numbers. */
export function checkIdRows(input_ids: number[][]): void {
  if (!isListOf(input_ids, Array.isArray)) {
    throw invalidArgument('input_ids', 'a list of token ids for each row', input_ids);
  }
}

/** @throws InvalidArgumentError unless ids and scores are rows, and equally many. */
export function checkRows(input_ids: number[][], scores: Float32Array[]): void {
  if (!isListOf(scores, (row) => row instanceof Float32Array)) {
    throw invalidArgument('scores', 'a list of Float32Array, one a row', scores);
  }
  checkIdRows(input_ids);
  if (input_ids.length !== scores.length) {
    throw invalidArgument('input_ids', `${scores.length} rows`, input_ids.length);
  }
}
