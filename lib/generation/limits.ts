/**
 * The most of everything that a call may ask for. Beyond these numbers nothing could work, so they
 * are refused before anything is allocated; docs/limits.md has the same table.
 */

import { InvalidArgumentError, show } from '../errors.js';

/**
 * Rows decoded side by side, which are prompts times beams or return sequences: a row is a block in
 * the second dimension of a CUDA grid, which has at most 65,535.
 */
export const MAX_ROWS = 65_535;

/**
 * Tokens of one row, prompt included: 64 times the longest context of any published model (2^20),
 * half of what the key/value cache counts to, and a list that V8 still keeps as one array.
 */
export const MAX_LENGTH = 2 ** 26;

/** Token ids of all rows' prompts, which are lists of 8 bytes a token in V8's heap: 512 MiB. */
export const MAX_PROMPT_TOKENS = 2 ** 26;

/**
 * Scores of one step, rows times vocab_size: 512 MiB as float32, of which JavaScript holds up to four
 * copies. 4194 rows of Llama-2's vocabulary, 1046 of Llama-3's.
 */
export const MAX_STEP_SCORES = 2 ** 27;

/** Logits of one `forward`, positions times vocab_size: 4 GiB as float32, one allocation. */
export const MAX_FORWARD_SCORES = 2 ** 30;

/** Token ids, and what is compared with a vocabulary's size: 32-bit integers in the engine. */
export const MAX_TOKEN_ID = 2 ** 31 - 1;

/** End-of-sequence tokens; beam search keeps one candidate more a beam for each. */
export const MAX_EOS_TOKENS = 1024;

/** Token ids in all lists of one option that is looked through at every step. */
export const MAX_LISTED_TOKENS = 2 ** 20;

/** `stop_strings`, each of which is looked for at every step, and their characters. */
export const MAX_STOP_STRINGS = 2 ** 14;
export const MAX_STOP_CHARACTERS = 2 ** 20;

/** `output_logprobs`: an object in V8's heap for each of them, at every step and row. */
export const MAX_LOGPROBS = 1024;

/** Tokens that lookup proposes a step; all are run at once, and few of so many could be right. */
export const MAX_PROPOSED_TOKENS = 1024;

/** Processors, or criteria, of one call. */
export const MAX_CALLABLES = 1024;

const REMEDY = 'docs/limits.md says what the limit follows from.';

/** @throws InvalidArgumentError where a number exceeds what can work. */
export function checkLargest(subject: string, found: number, limit: number): void {
  if (!(found > limit)) return;
  throw new InvalidArgumentError(`\`${subject}\` is larger than can work`, {
    subject,
    expected: `at most ${limit}`,
    found,
    remedy: REMEDY,
  });
}

/** @throws InvalidArgumentError where there are more than can work; `unit` says of what. */
export function checkLimit(subject: string, found: number, limit: number, unit: string): void {
  if (!(found > limit)) return;
  throw new InvalidArgumentError(`\`${subject}\` has more ${unit} than can work`, {
    subject,
    expected: `at most ${limit}`,
    found,
    remedy: REMEDY,
  });
}

/** An error for a list that could not be meant, shown as far as is of use. */
export function listError(text: string, subject: string, found: unknown): InvalidArgumentError {
  return new InvalidArgumentError(`${text} but is ${show(found)}.`, { subject });
}
