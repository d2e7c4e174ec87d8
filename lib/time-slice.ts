import { setImmediate as nextTurn } from 'node:timers/promises';
import { throwIfAborted } from './errors.js';

/** Work of the library on the main thread is cut into pieces of about this length. */
const SLICE_MS = 4;

/**
 * Lets timers and other callers run between the pieces of a long computation:
 * `if (slice.due()) await slice.next()`.
 */
export class TimeSlice {
  private end = performance.now() + SLICE_MS;

  constructor(private readonly signal?: AbortSignal) {}

  /** True once the slice is used up. */
  due(): boolean {
    return performance.now() >= this.end;
  }

  /**
   * Resolves in the next turn of the event loop, with a fresh slice.
   * @throws AbortError
   */
  async next(): Promise<void> {
    await nextTurn();
    throwIfAborted(this.signal);
    this.end = performance.now() + SLICE_MS;
  }
}
