/** What the arguments of processors and criteria have to be, in one wording. */

import { invalidArgument } from '../errors.js';
import { isListOf } from '../list-of.js';
import {
  checkLimit,
  MAX_LISTED_TOKENS,
  MAX_PROMPT_TOKENS,
  MAX_ROWS,
  MAX_TOKEN_ID,
} from './limits.js';

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
  const { length } = list;
  checkLimit(subject, length, limit, 'tokens');
  // One by one: of a list that only claims its length nothing is copied beyond the first hole.
  const copy: number[] = [];
  for (let i = 0; i < length; i++) {
    const id: unknown = list[i];
    if (!isTokenId(id)) throw invalidArgument(subject, `ids from 0 to ${MAX_TOKEN_ID}`, id);
    copy.push(id);
  }
  return copy;
}

/** Lists of token ids, one a row; lists of their own, a row that is given several times being copied once. */
export function requireRows(
  subject: string,
  rows: readonly (readonly number[])[],
): readonly (readonly number[])[] {
  if (!Array.isArray(rows)) throw invalidArgument(subject, 'lists of token ids', rows);
  const { length } = rows;
  checkLimit(subject, length, MAX_ROWS, 'rows');
  const own = new Map<unknown, readonly number[]>();
  let tokens = 0;
  return Array.from({ length }, (_, r) => {
    const given = rows[r] as readonly number[];
    const known = own.get(given);
    if (known !== undefined) return known;
    tokens += Array.isArray(given) ? given.length : 1;
    checkLimit(subject, tokens, MAX_PROMPT_TOKENS, 'tokens');
    const row = requireIds(subject, given, MAX_PROMPT_TOKENS);
    own.set(given, row);
    return row;
  });
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
