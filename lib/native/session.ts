import type {
  DecodeRequest,
  DecodeStep,
  EngineSession,
  ForwardResult,
  ForwardRow,
} from '../engine.js';
import { AbortError, DisposedError, InvalidArgumentError, throwIfAborted } from '../errors.js';
import type { NativeEngine, NativeModelConfig } from './addon.js';
import { guard, toKomtError } from './errors.js';

const WANTED = { none: 0, last: 1, all: 2 } as const;
const NO_TOKENS = new Int32Array(0);
/** Far beyond any context: what ends a sequence is memory, and the cache says so itself. */
const MAX_POSITIONS = 2 ** 27;

/** {@link EngineSession} over the addon. Keeps the lengths on this side, so that asking is free. */
export class NativeSession implements EngineSession {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly max_length: number;
  readonly #native: NativeEngine;
  readonly #id: number;
  readonly #lengths = new Map<number, number>();
  #next = 1;
  #disposed = false;

  constructor(native: NativeEngine, config: NativeModelConfig) {
    this.#native = native;
    this.vocab_size = config.vocab_size;
    this.hidden_size = config.hidden_size;
    this.max_length = MAX_POSITIONS;
    this.#id = guard(() => native.openSession());
  }

  #check(sequence?: number): void {
    if (this.#disposed) throw new DisposedError('The session was disposed');
    if (sequence !== undefined && !this.#lengths.has(sequence)) {
      throw new InvalidArgumentError(
        `Sequence ${sequence} does not exist: it was released, or never created`,
      );
    }
  }

  create(): number {
    this.#check();
    const handle = this.#next++;
    this.#lengths.set(handle, 0);
    this.#native.create(this.#id, handle);
    return handle;
  }

  fork(sequence: number): number {
    this.#check(sequence);
    const handle = this.#next++;
    this.#lengths.set(handle, this.length(sequence));
    this.#native.fork(this.#id, sequence, handle);
    return handle;
  }

  truncate(sequence: number, length: number): void {
    this.#check(sequence);
    if (length >= this.length(sequence)) return;
    this.#lengths.set(sequence, length);
    this.#native.truncate(this.#id, sequence, length);
  }

  release(sequence: number): void {
    this.#check(sequence);
    this.#lengths.delete(sequence);
    this.#native.release(this.#id, sequence);
  }

  length(sequence: number): number {
    this.#check(sequence);
    return this.#lengths.get(sequence) as number;
  }

  async forward(
    rows: readonly ForwardRow[],
    options: { hidden?: boolean; signal?: AbortSignal } = {},
  ): Promise<ForwardResult> {
    const { hidden = false, signal } = options;
    throwIfAborted(signal);
    for (const row of rows) this.#check(row.sequence);
    const lengths = Int32Array.from(rows, (row) => row.tokens.length);
    const tokens = new Int32Array(lengths.reduce((a, b) => a + b, 0));
    let at = 0;
    for (const row of rows) {
      tokens.set(row.tokens, at);
      at += row.tokens.length;
    }
    const result = await this.#call<ForwardResult>(signal, (done) =>
      this.#native.forward(
        this.#id,
        Int32Array.from(rows, (row) => row.sequence),
        lengths,
        tokens,
        Int32Array.from(rows, (row) => WANTED[row.logits]),
        hidden,
        done,
      ),
    );
    for (const row of rows) this.#grow(row.sequence, row.tokens.length);
    return result;
  }

  async decode(request: DecodeRequest): Promise<void> {
    const { rows, sampling, ask, signal } = request;
    throwIfAborted(signal);
    for (const row of rows) this.#check(row.sequence);
    const generated = new Array<number>(rows.length).fill(0);
    let failure: { error: unknown } | null = null;
    let call = 0;

    // A throw in the user's code ends the run; what it threw is what the caller gets.
    const fail = (error: unknown) => {
      failure ??= { error };
      this.#native.cancel(call);
    };
    const answer = (stop: void | readonly boolean[]) => {
      if (!ask) return;
      this.#native.verdict(
        call,
        Uint8Array.from(rows, (_, i) => (stop?.[i] ? 1 : 0)),
      );
    };
    const onStep = (step: number, tokens: Int32Array, logprobs: Float32Array | undefined) => {
      if (failure) return;
      tokens.forEach((token, i) => {
        if (token >= 0) generated[i] = (generated[i] as number) + 1;
      });
      try {
        const event: DecodeStep = { step, tokens, logprobs };
        const stop = request.onStep(event);
        if (stop instanceof Promise) stop.then(answer, fail);
        else answer(stop);
      } catch (error) {
        fail(error);
      }
    };

    // A run that failed leaves the sequences as they were.
    const before = rows.map((row) => this.length(row.sequence));
    const rewind = () => {
      if (this.#disposed) return;
      rows.forEach(({ sequence }, i) => {
        if (this.#lengths.has(sequence)) {
          this.#native.truncate(this.#id, sequence, before[i] as number);
        }
      });
    };
    try {
      await this.#call<void>(signal, (done) => {
        call = this.#native.decode(
          this.#id,
          {
            rows: rows.map((row) => ({
              sequence: row.sequence,
              tokens: Int32Array.from(row.tokens),
              history: row.history ? Int32Array.from(row.history) : NO_TOKENS,
              streamHash: row.streamHash,
              streamLane: row.streamLane,
              max_new_tokens: row.max_new_tokens,
            })),
            sampling: { ...sampling },
            eos_token_ids: Int32Array.from(request.eos_token_ids),
            seed: BigInt.asUintN(64, request.seed),
            logprobs: request.logprobs ?? false,
            ask,
          },
          onStep,
          done,
        );
        return call;
      });
    } catch (error) {
      failure ??= { error };
    }
    if (failure) {
      rewind();
      throw (failure as { error: unknown }).error;
    }
    rows.forEach((row, i) => {
      this.#grow(row.sequence, row.tokens.length + Math.max((generated[i] as number) - 1, 0));
    });
  }

  /** Runs one native call that a signal may end. */
  #call<T>(
    signal: AbortSignal | undefined,
    start: (done: (error: Error | null, value: T) => void) => number,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      let call = 0;
      const abort = () => this.#native.cancel(call);
      const done = (error: Error | null, value: T) => {
        signal?.removeEventListener('abort', abort);
        if (!error) resolve(value);
        else reject(signal?.aborted ? new AbortError(signal.reason) : toKomtError(error, signal));
      };
      call = guard(() => start(done));
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  #grow(sequence: number, tokens: number): void {
    const length = this.#lengths.get(sequence);
    if (length !== undefined) this.#lengths.set(sequence, length + tokens);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#lengths.clear();
    this.#native.closeSession(this.#id);
  }
}
