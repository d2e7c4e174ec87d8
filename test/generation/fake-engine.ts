import type { DecodeRequest, EngineSession, ForwardResult, ForwardRow } from '../../lib/engine.js';
import { DisposedError, throwIfAborted } from '../../lib/errors.js';
import { argmax, logSoftmax } from '../../lib/generation/float32.js';
import type { GenerationFields } from '../../lib/generation/generation-fields.js';
import { LogitsProcessorList } from '../../lib/generation/logits-processor.js';
import {
  MinNewTokensLengthLogitsProcessor,
  RepetitionPenaltyLogitsProcessor,
} from '../../lib/generation/logits-processors.js';
import {
  MinPLogitsWarper,
  TemperatureLogitsWarper,
  TopKLogitsWarper,
  TopPLogitsWarper,
  TypicalLogitsWarper,
} from '../../lib/generation/logits-warpers.js';
import type { GenerationModel } from '../../lib/generation/model.js';
import { sampleToken, streamHash, uniform } from '../../lib/generation/random.js';

/** Logits after a text; a pure function, so that a text answers alike alone and in a batch. */
export type LogitsOf = (ids: readonly number[]) => Float32Array;

/** Logits that depend on every token of the text, spread over about [-4, 4]. */
export function hashedLogits(vocab_size: number): LogitsOf {
  return (ids) => {
    let state = Number(streamHash(ids) & 0xffffffffn);
    return Float32Array.from({ length: vocab_size }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state / 2 ** 29 - 4;
    });
  };
}

/** Logits that favour the tokens of a script: after `prompt` tokens the first, and so on. */
export function scriptedLogits(
  vocab_size: number,
  prompt: number,
  script: readonly number[],
): LogitsOf {
  return (ids) => {
    const logits = new Float32Array(vocab_size);
    logits[script[ids.length - prompt] ?? 3] = 10;
    return logits;
  };
}

/** A session over {@link LogitsOf} that counts what is asked of it and checks how it is used. */
export class FakeSession implements EngineSession {
  readonly hidden_size = 2;
  disposed = false;
  /** Calls by method. */
  readonly calls = { create: 0, fork: 0, release: 0, truncate: 0, forward: 0, decode: 0 };
  /** Tokens run through the model. */
  tokensRun = 0;
  /** Requests to `decode`. */
  readonly requests: DecodeRequest[] = [];
  private readonly sequences = new Map<number, number[]>();
  private next = 1;

  constructor(
    private readonly logitsOf: LogitsOf,
    readonly vocab_size: number,
    readonly max_length: number,
  ) {}

  /** Sequences that hold a cache. */
  get live(): number {
    return this.sequences.size;
  }

  private of(sequence: number): number[] {
    if (this.disposed) throw new DisposedError('The session was disposed');
    const ids = this.sequences.get(sequence);
    if (ids === undefined) throw new Error(`no sequence ${sequence}`);
    return ids;
  }

  create(): number {
    if (this.disposed) throw new DisposedError('The session was disposed');
    this.calls.create++;
    this.sequences.set(this.next, []);
    return this.next++;
  }

  fork(sequence: number): number {
    this.calls.fork++;
    this.sequences.set(this.next, this.of(sequence).slice());
    return this.next++;
  }

  truncate(sequence: number, length: number): void {
    this.calls.truncate++;
    this.of(sequence).length = length;
  }

  release(sequence: number): void {
    this.calls.release++;
    this.of(sequence);
    this.sequences.delete(sequence);
  }

  length(sequence: number): number {
    return this.of(sequence).length;
  }

  async forward(
    rows: readonly ForwardRow[],
    options: { hidden?: boolean; signal?: AbortSignal } = {},
  ): Promise<ForwardResult> {
    this.calls.forward++;
    throwIfAborted(options.signal);
    const wanted: Float32Array[] = [];
    const hidden: number[] = [];
    if (new Set(rows.map((row) => row.sequence)).size !== rows.length) {
      throw new Error('a sequence stands twice in one step');
    }
    for (const row of rows) {
      if (row.tokens.length === 0) throw new Error('a row without tokens');
      const ids = this.of(row.sequence);
      row.tokens.forEach((token, i) => {
        ids.push(token);
        this.tokensRun++;
        if (row.logits === 'all' || (row.logits === 'last' && i === row.tokens.length - 1)) {
          wanted.push(this.logitsOf(ids));
          hidden.push(ids.length, token);
        }
      });
      if (ids.length > this.max_length) throw new Error('the cache is full');
    }
    await Promise.resolve();
    const logits = new Float32Array(wanted.length * this.vocab_size);
    wanted.forEach((row, i) => {
      logits.set(row, i * this.vocab_size);
    });
    const result: ForwardResult = { logits, rows: wanted.length };
    if (options.hidden) result.hidden = Float32Array.from(hidden);
    return result;
  }

  async decode(request: DecodeRequest): Promise<void> {
    this.calls.decode++;
    this.requests.push(request);
    const { sampling, eos_token_ids, seed } = request;
    const processors = new LogitsProcessorList();
    if (sampling.repetition_penalty !== 1) {
      processors.push(new RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty));
    }
    const minimum = new MinNewTokensLengthLogitsProcessor(
      0,
      sampling.min_new_tokens,
      eos_token_ids,
    );
    const warpers = new LogitsProcessorList();
    if (sampling.do_sample) {
      const { temperature, top_k, top_p, min_p, typical_p } = sampling;
      if (temperature !== 1) warpers.push(new TemperatureLogitsWarper(temperature));
      if (top_k !== 0) warpers.push(new TopKLogitsWarper(top_k));
      if (top_p !== 1) warpers.push(new TopPLogitsWarper(top_p));
      if (min_p !== 0) warpers.push(new MinPLogitsWarper(min_p));
      if (typical_p !== 1) warpers.push(new TypicalLogitsWarper(typical_p));
    }
    const rows = request.rows.map((row) => {
      const cached = this.of(row.sequence);
      cached.push(...row.tokens);
      this.tokensRun += row.tokens.length;
      const ids = cached.slice();
      const history = [...(row.history ?? [])];
      if (row.history !== undefined && history.join() !== ids.join()) {
        throw new Error('the history is not the text');
      }
      return { ...row, ids, made: 0, ended: false };
    });
    for (let step = 0; rows.some((row) => !row.ended); step++) {
      throwIfAborted(request.signal);
      const logprobs = new Float32Array(rows.length);
      const tokens = Int32Array.from(rows, (row, r) => {
        if (row.ended) return -1;
        const penalised = processors([row.ids], [this.logitsOf(row.ids)]);
        const masked = minimum([new Array<number>(row.made).fill(0)], penalised);
        const [scores] = warpers([row.ids], masked) as [Float32Array];
        const stream = { hash: row.streamHash, lane: row.streamLane };
        const token = sampling.do_sample
          ? sampleToken(scores, uniform(seed, stream, step))
          : argmax(scores);
        logprobs[r] = logSoftmax(scores)[token] as number;
        row.ids.push(token);
        row.made++;
        row.ended = eos_token_ids.includes(token) || row.made >= row.max_new_tokens;
        return token;
      });
      await Promise.resolve();
      const answer = request.onStep({
        step,
        tokens,
        ...(request.logprobs ? { logprobs } : {}),
      });
      if (!request.ask) continue;
      const flags = await answer;
      rows.forEach((row, r) => {
        if (flags?.[r]) row.ended = true;
      });
    }
  }

  dispose(): void {
    this.disposed = true;
    this.sequences.clear();
  }
}

/** A model without weights. */
export class FakeModel implements GenerationModel {
  readonly config: { vocab_size: number; max_position_embeddings: number | null };
  generation_config: GenerationFields;
  readonly sessions: FakeSession[] = [];

  constructor(
    readonly logitsOf: LogitsOf,
    options: {
      vocab_size?: number;
      max_length?: number;
      max_position_embeddings?: number | null;
      generation_config?: GenerationFields;
    } = {},
  ) {
    this.max_length = options.max_length ?? 4096;
    this.config = {
      vocab_size: options.vocab_size ?? 32,
      max_position_embeddings: options.max_position_embeddings ?? null,
    };
    this.generation_config = options.generation_config ?? {};
  }
  private readonly max_length: number;

  /** The session of the latest call. */
  get session(): FakeSession {
    const last = this.sessions.at(-1);
    if (last === undefined) throw new Error('no session was opened');
    return last;
  }

  openSession(): FakeSession {
    const session = new FakeSession(this.logitsOf, this.config.vocab_size, this.max_length);
    this.sessions.push(session);
    return session;
  }
}

/** A model whose logits hash the whole text. Token 2 ends it unless configured otherwise. */
export function hashModel(
  generation_config: GenerationFields = { eos_token_id: 2 },
  options: { vocab_size?: number; max_length?: number } = {},
): FakeModel {
  const vocab_size = options.vocab_size ?? 32;
  return new FakeModel(hashedLogits(vocab_size), { ...options, vocab_size, generation_config });
}
