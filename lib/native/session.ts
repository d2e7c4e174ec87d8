import type {
  DecodeRequest,
  DecodeStep,
  EngineSession,
  ForwardResult,
  ForwardRow,
} from '../engine.js';
import {
  AbortError,
  DisposedError,
  InvalidArgumentError,
  invalidArgument,
  show,
  throwIfAborted,
} from '../errors.js';
import type { NativeEngine, NativeModelConfig } from './addon.js';
import { guard, toKomtError } from './errors.js';

const WANTED = { none: 0, last: 1, all: 2 } as const;
const NO_TOKENS = new Int32Array(0);
/**
 * Far beyond any context: what ends a sequence is memory, and the cache says so itself. The same number
 * stands in native/engine/kv_cache.h.
 */
const MAX_POSITIONS = 2 ** 27;

/** Token ids as the addon takes them. */
function tokenArray(name: string, tokens: unknown): Int32Array {
  // An empty one may be detached.
  if (tokens instanceof Int32Array && tokens.length > 0) return tokens;
  const list = tokens as ArrayLike<unknown> | null | undefined;
  if (typeof list !== 'object' || list === null || !Number.isInteger(list.length)) {
    throw invalidArgument(name, 'an array of token ids', tokens);
  }
  if (list.length > MAX_POSITIONS) {
    throw invalidArgument(name, `at most ${MAX_POSITIONS} token ids`, list.length);
  }
  const ids = new Int32Array(list.length);
  for (let i = 0; i < ids.length; i++) {
    const id = list[i];
    // Fractions, NaN and 2^31 are what an Int32Array does not keep as it is.
    if (typeof id === 'number') ids[i] = id;
    if (ids[i] !== id) throw invalidArgument(name, 'integers as token ids', id);
  }
  return ids;
}

function rowsOf<T>(rows: readonly T[]): readonly T[] {
  if (!Array.isArray(rows) || rows.length === 0) {
    throw invalidArgument('rows', 'an array of at least one row', rows);
  }
  for (const row of rows) {
    if (typeof row !== 'object' || row === null) throw invalidArgument('rows', 'objects', row);
  }
  return rows;
}

/**
 * {@link EngineSession} over the addon. Keeps the lengths on this side, so that asking is free: they
 * change here when the native side has accepted a change, and grow when a call has ended.
 */
export class NativeSession implements EngineSession {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly max_length: number;
  readonly #native: NativeEngine;
  readonly #id: number;
  readonly #lengths = new Map<number, number>();
  /** Sequences that a call under way is changing. */
  readonly #busy = new Set<number>();
  #next = 1;
  #disposed = false;

  constructor(native: NativeEngine, config: NativeModelConfig) {
    this.#native = native;
    this.vocab_size = config.vocab_size;
    this.hidden_size = config.hidden_size;
    this.max_length = MAX_POSITIONS;
    this.#id = guard(() => native.openSession());
  }

  #checkAlive(): void {
    if (this.#disposed) throw new DisposedError('The session was disposed');
  }

  #check(sequence: number): void {
    this.#checkAlive();
    if (!this.#lengths.has(sequence)) {
      throw new InvalidArgumentError(
        `Sequence ${show(sequence)} does not exist: it was released, or never created`,
      );
    }
  }

  /** Of a sequence that a call is changing, nobody knows the length before its end. */
  #checkIdle(sequence: number): void {
    this.#check(sequence);
    if (this.#busy.has(sequence)) {
      throw new InvalidArgumentError(
        `Sequence ${sequence} is used by a call that has not ended: await it first`,
      );
    }
  }

  create(): number {
    this.#checkAlive();
    const handle = this.#next++;
    guard(() => this.#native.create(this.#id, handle));
    this.#lengths.set(handle, 0);
    return handle;
  }

  fork(sequence: number): number {
    this.#checkIdle(sequence);
    const handle = this.#next++;
    guard(() => this.#native.fork(this.#id, sequence, handle));
    this.#lengths.set(handle, this.length(sequence));
    return handle;
  }

  truncate(sequence: number, length: number): void {
    this.#checkIdle(sequence);
    if (!Number.isInteger(length) || length < 0) {
      throw invalidArgument('length', 'an integer of 0 or more', length);
    }
    if (length >= this.length(sequence)) return;
    guard(() => this.#native.truncate(this.#id, sequence, length));
    this.#lengths.set(sequence, length);
  }

  release(sequence: number): void {
    this.#check(sequence);
    guard(() => this.#native.release(this.#id, sequence));
    this.#lengths.delete(sequence);
  }

  length(sequence: number): number {
    this.#check(sequence);
    return this.#lengths.get(sequence) as number;
  }

  async forward(
    rows: readonly ForwardRow[],
    options: { hidden?: boolean; signal?: AbortSignal } = {},
  ): Promise<ForwardResult> {
    const { hidden = false, signal } = options ?? {};
    throwIfAborted(signal);
    this.#checkAlive();
    for (const row of rowsOf(rows)) {
      this.#checkIdle(row.sequence);
      if (!Object.hasOwn(WANTED, row.logits)) {
        throw invalidArgument('logits', "'none', 'last' or 'all'", row.logits);
      }
    }
    if (typeof hidden !== 'boolean') throw invalidArgument('hidden', 'a boolean', hidden);
    const chunks = rows.map((row) => tokenArray('tokens', row.tokens));
    const count = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    if (count > MAX_POSITIONS) {
      throw invalidArgument('tokens', `at most ${MAX_POSITIONS} token ids in all rows`, count);
    }
    const tokens = new Int32Array(count);
    let at = 0;
    for (const chunk of chunks) {
      tokens.set(chunk, at);
      at += chunk.length;
    }
    const sequences = rows.map((row) => row.sequence);
    const wanted = Int32Array.from(rows, (row) => WANTED[row.logits]);
    const result = await this.#use(sequences, () =>
      this.#call<ForwardResult>(signal, (done) =>
        this.#native.forward(
          this.#id,
          Int32Array.from(sequences),
          Int32Array.from(chunks, (chunk) => chunk.length),
          tokens,
          wanted,
          hidden,
          done,
        ),
      ),
    );
    sequences.forEach((sequence, i) => {
      this.#grow(sequence, (chunks[i] as Int32Array).length);
    });
    return result;
  }

  async decode(request: DecodeRequest): Promise<void> {
    if (typeof request !== 'object' || request === null) {
      throw invalidArgument('request', 'an object', request);
    }
    const { rows, sampling, ask, signal } = request;
    throwIfAborted(signal);
    this.#checkAlive();
    for (const row of rowsOf(rows)) this.#checkIdle(row.sequence);
    if (typeof request.onStep !== 'function') {
      throw invalidArgument('onStep', 'a function', request.onStep);
    }
    if (typeof request.seed !== 'bigint') throw invalidArgument('seed', 'a bigint', request.seed);
    const sequences = rows.map((row) => row.sequence);
    const nativeRows = rows.map((row) => ({
      sequence: row.sequence,
      tokens: tokenArray('tokens', row.tokens),
      history: row.history ? tokenArray('history', row.history) : NO_TOKENS,
      streamHash: row.streamHash,
      streamLane: row.streamLane,
      max_new_tokens: row.max_new_tokens,
    }));
    const generated = new Array<number>(sequences.length).fill(0);
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
        Uint8Array.from(sequences, (_, i) => (stop?.[i] ? 1 : 0)),
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
    const before = sequences.map((sequence) => this.length(sequence));
    const rewind = () => {
      if (this.#disposed) return;
      sequences.forEach((sequence, i) => {
        if (!this.#lengths.has(sequence)) return;
        try {
          this.#native.truncate(this.#id, sequence, before[i] as number);
        } catch {
          // The model was disposed, and its sequences with it.
        }
      });
    };
    try {
      await this.#use(sequences, () =>
        this.#call<void>(signal, (done) => {
          call = this.#native.decode(
            this.#id,
            {
              rows: nativeRows,
              sampling: { ...sampling },
              eos_token_ids: tokenArray('eos_token_ids', request.eos_token_ids),
              seed: BigInt.asUintN(64, request.seed),
              logprobs: request.logprobs ?? false,
              ask,
            },
            onStep,
            done,
          );
          return call;
        }),
      );
    } catch (error) {
      failure ??= { error };
    }
    if (failure) {
      rewind();
      throw (failure as { error: unknown }).error;
    }
    nativeRows.forEach(({ sequence, tokens }, i) => {
      this.#grow(sequence, tokens.length + Math.max((generated[i] as number) - 1, 0));
    });
  }

  /** Marks sequences as used while a call on them is under way. */
  async #use<T>(sequences: readonly number[], call: () => Promise<T>): Promise<T> {
    for (const sequence of sequences) this.#busy.add(sequence);
    try {
      return await call();
    } finally {
      for (const sequence of sequences) this.#busy.delete(sequence);
    }
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
