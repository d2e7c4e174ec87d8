import { AbortError } from '../errors.js';

/** Longest silence of a server, and the error that ends it. */
interface Silence {
  milliseconds: number;
  error: () => Error;
}

/**
 * Ends a request for one of two reasons: the caller's signal, or the silence of the server. It listens to
 * the signal by its shape, so that signals of polyfills do.
 */
export class Watch {
  readonly #controller = new AbortController();
  readonly #caller?: AbortSignal;
  readonly #silence?: Silence;

  constructor(caller: AbortSignal | null | undefined, silence?: Silence) {
    this.#caller = caller ?? undefined;
    this.#silence = silence;
    if (this.#caller?.aborted) this.#onAbort();
    else this.#caller?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** For `fetch`; its reason is the error. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Waits for something of the server, and counts the time. */
  async during<T>(wait: () => Promise<T>): Promise<T> {
    const silence = this.#silence;
    const timer =
      silence && setTimeout(() => this.#controller.abort(silence.error()), silence.milliseconds);
    try {
      return await wait();
    } catch (error) {
      throw this.signal.aborted ? this.signal.reason : error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Ends the watch; what was waited for is over. */
  stop(): void {
    this.#caller?.removeEventListener?.('abort', this.#onAbort);
  }

  readonly #onAbort = () => {
    this.#controller.abort(new AbortError(this.#caller?.reason));
  };
}
