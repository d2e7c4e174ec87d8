import { setImmediate } from 'node:timers/promises';

/** Milliseconds of work between two turns of the event loop; a piece of work may go over by itself. */
const SLICE = 8;

/** Cuts long work into slices, between which the event loop turns. */
export class Turns {
  #start = performance.now();

  /** @param check throws where the work is to end; called after every turn. */
  constructor(private readonly check: () => void = () => {}) {}

  /** The slice is over: `await turn()`. */
  get due(): boolean {
    return performance.now() - this.#start > SLICE;
  }

  /** Lets the event loop turn. */
  async turn(): Promise<void> {
    await setImmediate();
    this.#start = performance.now();
    this.check();
  }
}
