/**
 * The one place through which the library warns. A message is given once per process, as
 * transformers' `warning_once` does, and goes to `console.warn` unless a handler was set.
 */

import { invalidArgument } from './errors.js';

/** Receives a warning's text. */
export type WarningHandler = (message: string) => void;

const toConsole: WarningHandler = (message) => console.warn(message);

let handler: WarningHandler = toConsole;
const given = new Set<string>();
/** Warnings that are remembered. Some hold numbers, which would make the list grow for ever. */
const MAX_GIVEN = 10_000;

/**
 * Sends the library's warnings elsewhere. `null` brings `console.warn` back; `() => {}` silences.
 *
 * @returns the handler that was set before, so that a caller can put it back.
 * @throws InvalidArgumentError for what is neither a function nor null
 */
export function setWarningHandler(next: WarningHandler | null): WarningHandler {
  if (next !== null && next !== undefined && typeof next !== 'function') {
    throw invalidArgument('the warning handler', 'a function or null', next);
  }
  const previous = handler;
  handler = next ?? toConsole;
  return previous;
}

/** Forgets which warnings were given, so that each may be given again. */
export function resetWarnings(): void {
  given.clear();
}

/**
 * Warns, once per `key`.
 *
 * @param message what the user reads.
 * @param key what makes it the same warning; the message itself by default.
 */
export function warnOnce(message: string, key: string = message): void {
  if (given.has(key)) return;
  if (given.size >= MAX_GIVEN) given.clear();
  given.add(key);
  handler(message);
}
