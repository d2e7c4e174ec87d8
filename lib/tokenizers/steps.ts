import { TimeSlice } from '../time-slice.js';

/** A computation that yields wherever it may be interrupted: about once in a tenth of a millisecond. */
export type Steps<T> = Generator<void, T>;

/** Runs to the end. */
export function runAtOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/**
 * Runs in slices of a few milliseconds, between which the event loop goes on.
 *
 * @throws AbortError
 */
export async function runInSlices<T>(steps: Steps<T>, signal?: AbortSignal): Promise<T> {
  const slice = new TimeSlice(signal);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    if (slice.due()) await slice.next();
  }
}
