/**
 * The one place through which the library warns. A message is given once per process, as
 * transformers' `warning_once` does, and goes to `console.warn` unless a handler was set.
 */

/** Receives a warning's text. */
export type WarningHandler = (message: string) => void;

const toConsole: WarningHandler = (message) => console.warn(message);

let handler: WarningHandler = toConsole;
const given = new Set<string>();

/**
 * Sends the library's warnings elsewhere. `null` brings `console.warn` back; `() => {}` silences.
 *
 * @returns the handler that was set before, so that a caller can put it back.
 */
export function setWarningHandler(next: WarningHandler | null): WarningHandler {
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
  given.add(key);
  handler(message);
}
