import { follow } from '../abort.js';
import { AbortError, DisposedError } from '../errors.js';

/** What a wait gives where the call's time (`max_time`) was over before the answer came. */
export const LATE: unique symbol = Symbol('late');
export type Late = typeof LATE;

/** Longest delay of a timer. */
const MAX_DELAY = 2 ** 31 - 1;

/** A promise, or what is used as one. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    ((typeof value === 'object' && value !== null) || typeof value === 'function') &&
    typeof (value as { then?: unknown }).then === 'function'
  );
}

/**
 * One call, seen from the caller's code that it runs: streamers, criteria and processors may give
 * promises, and every wait for one ends with the call's signal, with the model's disposal and with
 * the call's time. What an abandoned promise comes to later is of no interest to anyone.
 */
export class CallScope {
  /** Fires as the caller's signal does; one of the platform, whatever the caller's is. */
  readonly signal: AbortSignal;
  /** `performance.now()` at which the call's time is over. */
  deadline = Number.POSITIVE_INFINITY;
  readonly #controller = new AbortController();
  readonly #waits = new Set<(error: unknown) => void>();
  readonly #given: AbortSignal | null;
  readonly #disposal: AbortSignal | null;
  readonly #leave: () => void;

  /**
   * @param disposal fires when the model is disposed.
   * @throws AbortError, DisposedError where one of them has fired; InvalidArgumentError for what is no
   *   AbortSignal
   */
  constructor(signal: AbortSignal | null | undefined, disposal: AbortSignal | null | undefined) {
    this.signal = this.#controller.signal;
    this.#given = signal ?? null;
    this.#disposal = disposal ?? null;
    this.#leave = follow(signal, this.#controller);
    this.signal.addEventListener('abort', this.#end);
    this.#disposal?.addEventListener('abort', this.#end);
  }

  readonly #end = (): void => {
    for (const fail of [...this.#waits]) fail(this.#failure());
  };

  /** Why the call cannot go on; null where it can. */
  #failure(): Error | null {
    if (this.#disposal?.aborted) return new DisposedError('The model was disposed');
    if (this.signal.aborted) return new AbortError(this.signal.reason);
    return null;
  }

  /** @throws AbortError, DisposedError where the call is to end. */
  check(): void {
    // A minimal signal may never fire its event.
    if (this.#given?.aborted && !this.signal.aborted) this.#controller.abort(this.#given.reason);
    const failure = this.#failure();
    if (failure !== null) throw failure;
  }

  /**
   * The answer of the caller's code: at once where it is no promise.
   *
   * @param grace milliseconds it may take though the call's time is over.
   * @returns LATE where the time was over first.
   * @throws what the promise rejects with; AbortError, DisposedError where that comes first.
   */
  wait<T>(answer: T | PromiseLike<T>, grace = 0): T | Promise<T | Late> {
    if (!isThenable(answer)) return answer as T;
    return new Promise<T | Late>((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const leave = (): void => {
        clearTimeout(timer);
        this.#waits.delete(fail);
      };
      const fail = (error: unknown): void => {
        leave();
        reject(error);
      };
      const give = (value: T | Late): void => {
        leave();
        resolve(value);
      };
      // Attached whatever happens next, so that no rejection of an abandoned promise is unhandled.
      Promise.resolve(answer).then(give, fail);
      const failure = this.#failure();
      if (failure !== null) return fail(failure);
      this.#waits.add(fail);
      if (this.deadline === Number.POSITIVE_INFINITY) return;
      const left = Math.max(this.deadline - performance.now(), grace, 0);
      timer = setTimeout(() => give(LATE), Math.min(left, MAX_DELAY));
    });
  }

  /** Leaves both signals, which may live longer than the call. */
  close(): void {
    this.#leave();
    this.#disposal?.removeEventListener('abort', this.#end);
  }
}
