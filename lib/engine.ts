/**
 * The engine as the library sees it: sequences with a key/value cache, one call that runs new tokens
 * through the model, and one that decodes many steps natively. `lib/native/` implements it over the
 * addon; tests may implement it over a table.
 */

/** New tokens of one sequence for one step. */
export interface ForwardRow {
  /** Handle from {@link EngineSession.create} or {@link EngineSession.fork}. */
  sequence: number;
  /** Tokens that follow what the sequence's cache already holds; at least one. */
  tokens: readonly number[] | Int32Array;
  /** For which of these tokens logits are wanted. */
  logits: 'none' | 'last' | 'all';
}

/** Result of {@link EngineSession.forward}. */
export interface ForwardResult {
  /** float32 [rows, vocab_size]: the wanted positions of all rows, in the order given. A fresh array. */
  logits: Float32Array;
  /** Number of rows in `logits`. */
  rows: number;
  /** float32 [rows, hidden_size]: the same positions after the final norm, where asked for. */
  hidden?: Float32Array;
}

/** What the native sampler understands; everything else goes through the processors in TypeScript. */
export interface NativeSampling {
  do_sample: boolean;
  /** > 0; 1 = off. */
  temperature: number;
  /** 0 = off; ties with the k-th are kept. */
  top_k: number;
  /** In [0, 1]; 1 = off. */
  top_p: number;
  /** In [0, 1]; 0 = off. */
  min_p: number;
  /** In (0, 1]; 1 = off. */
  typical_p: number;
  /** > 0; 1 = off. Once per distinct token of prompt and answer. */
  repetition_penalty: number;
  /** eos is masked until this many new tokens exist; 0 = off. */
  min_new_tokens: number;
}

/** One sequence of a {@link DecodeRequest}. */
export interface DecodeRow {
  sequence: number;
  /** Tokens not in the cache yet; at least one (the last token of the prompt). */
  tokens: readonly number[] | Int32Array;
  /** All ids so far, `tokens` included, for the repetition penalty; may be omitted when that is off. */
  history?: readonly number[] | Int32Array;
  /** Identity of the sequence for the random numbers (see `lib/generation/random.ts`): 64 bits and a lane. */
  streamHash: bigint;
  streamLane: number;
  /** No more than this many new tokens. */
  max_new_tokens: number;
}

/** What one step produced, one entry a row of the request. */
export interface DecodeStep {
  /** 0 for the first new token. */
  step: number;
  /** Chosen token per row; -1 for a row that had finished before. */
  tokens: Int32Array;
  /** Log-probability of the chosen token under the distribution it was drawn from, where asked for. */
  logprobs?: Float32Array;
}

/** Many decode steps in one native call. */
export interface DecodeRequest {
  rows: readonly DecodeRow[];
  sampling: NativeSampling;
  /** A row ends with any of these (the token stays in the output). */
  eos_token_ids: readonly number[];
  /** 64-bit seed. */
  seed: bigint;
  /** Report log-probabilities of the chosen tokens. */
  logprobs?: boolean;
  /**
   * Called after every step, in order. With `ask` the answer counts: a flag per row, true = this row
   * ends here; the engine may already work on the next step meanwhile and throws it away where it
   * turns out not to be wanted. Without `ask` the return value is ignored. A throw ends the run and
   * rejects with the same error.
   */
  onStep: (step: DecodeStep) => void | readonly boolean[] | Promise<void | readonly boolean[]>;
  ask: boolean;
  /** Ends the run within one step; rejects with AbortError. */
  signal?: AbortSignal;
}

/**
 * Sequences and their cache on one engine. All methods but dispose throw DisposedError after dispose. A
 * sequence is in one call at a time: while forward or decode run on it, it can only be released.
 */
export interface EngineSession {
  readonly vocab_size: number;
  readonly hidden_size: number;
  /** Longest sequence the cache can hold, in tokens. */
  readonly max_length: number;
  /** A new empty sequence. */
  create(): number;
  /** A copy that shares the cache of `sequence` until one of them writes (copy on write). O(blocks). */
  fork(sequence: number): number;
  /** Keeps the first `length` tokens of the cache. */
  truncate(sequence: number, length: number): void;
  /** Gives the sequence's cache back. */
  release(sequence: number): void;
  /** Tokens in the sequence's cache. */
  length(sequence: number): number;
  /** Appends the rows' tokens and computes logits. Long rows are processed in chunks. */
  forward(
    rows: readonly ForwardRow[],
    options?: { hidden?: boolean; signal?: AbortSignal },
  ): Promise<ForwardResult>;
  /** Samples natively until every row has ended. The cache then holds all tokens but the last of each row. */
  decode(request: DecodeRequest): Promise<void>;
  /** Releases all sequences. */
  dispose(): void;
}
