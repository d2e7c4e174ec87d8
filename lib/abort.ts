/** Signals of callers, which may be less than the platform's. */

import { throwIfAborted } from './errors.js';

/**
 * Fires a controller when a caller's signal fires. Of the signal only `aborted` and
 * `addEventListener` are needed; `removeEventListener` and `reason` are used where they are there.
 *
 * @returns ends the connection, so that a signal that outlives many calls keeps none of them.
 * @throws AbortError where it has fired already, InvalidArgumentError for what is no AbortSignal
 */
export function follow(
  signal: AbortSignal | null | undefined,
  controller: AbortController,
): () => void {
  throwIfAborted(signal);
  if (signal === undefined || signal === null) return () => {};
  const listener = (): void => controller.abort(signal.reason);
  signal.addEventListener('abort', listener, { once: true });
  return () => {
    try {
      signal.removeEventListener?.('abort', listener);
    } catch {
      // The call's result counts, not what a signal says to being left.
    }
  };
}

/** Runs with a signal of the platform that fires as the caller's does. */
export async function withSignal<T>(
  signal: AbortSignal | null | undefined,
  run: (signal: AbortSignal | undefined) => Promise<T>,
): Promise<T> {
  if (signal === undefined || signal === null) return run(undefined);
  const controller = new AbortController();
  const leave = follow(signal, controller);
  try {
    return await run(controller.signal);
  } finally {
    leave();
  }
}
