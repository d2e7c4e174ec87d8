import { afterEach, beforeEach } from 'vitest';
import type { Tensor } from '../../lib/tensor.js';
import { resetWarnings, setWarningHandler } from '../../lib/warnings.js';

/** Collects the warnings of each test of the file; none is left from the test before. */
export function collectWarnings(): string[] {
  const given: string[] = [];
  beforeEach(() => {
    given.length = 0;
    resetWarnings();
    setWarningHandler((message) => given.push(message));
  });
  afterEach(() => {
    setWarningHandler(null);
    resetWarnings();
  });
  return given;
}

/** The message of what `run` throws; fails where it throws nothing. */
export function messageOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('nothing was thrown');
}

/** The message `promise` rejects with; fails where it does not. */
export async function rejection(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => {
      throw new Error('the promise was fulfilled');
    },
    (error: Error) => error.message,
  );
}

/** A tensor's rows. */
export function rowsOf(tensor: Tensor): number[][] {
  return tensor.tolist() as number[][];
}
