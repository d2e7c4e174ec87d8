/** What a model thinks of given text, without generating. */

import { withSignal } from '../abort.js';
import { checkOptions, type OptionRules } from '../check-options.js';
import type { EngineSession, ForwardRow } from '../engine.js';
import { InvalidArgumentError, invalidArgument } from '../errors.js';
import { elementsFor, Tensor, type TokenIds } from '../tensor.js';
import { TimeSlice } from '../time-slice.js';
import { argmax, logSoftmax } from './float32.js';
import { type PreparedInputs, prepareInputs } from './inputs.js';
import { checkLimit, MAX_FORWARD_SCORES } from './limits.js';
import type { GenerationModel } from './model.js';

/** Options of {@link forward}. */
export interface ForwardOptions {
  /** The texts' ids; one flat list is one text. */
  input_ids: TokenIds;
  /** 0 where `input_ids` holds padding. Default: all 1. */
  attention_mask?: TokenIds | null;
  /** Also give the last hidden state: what the output layer sees. */
  output_hidden_states?: boolean | null;
  /** Accepted, as tokenizers produce it; decoder models have no use for it. */
  token_type_ids?: TokenIds | null;
  /** Ends the call within a step; it rejects with AbortError. */
  signal?: AbortSignal | null;
}

const FORWARD_RULES: OptionRules = {
  known: [
    'input_ids',
    'attention_mask',
    'output_hidden_states',
    'token_type_ids',
    'signal',
  ] satisfies (keyof ForwardOptions)[],
  unused: {
    use_cache: 'any',
    return_dict: [true],
    output_attentions: [false],
    labels: [],
    past_key_values: [],
    position_ids: [],
    inputs_embeds: [],
  },
  remedies: {
    labels: 'Use loglikelihood() for the likelihood of a text.',
    past_key_values: 'Use openSession(), which keeps the key/value cache.',
  },
};

/** What {@link forward} gives. */
export interface ForwardOutput {
  /** float32 [batch, length, vocab_size]; 0 at masked positions. */
  logits: Tensor;
  /**
   * With `output_hidden_states` one float32 tensor [batch, length, hidden_size], the state after
   * the final norm, so that `hidden_states.at(-1)` is what it is in transformers; else null.
   */
  hidden_states: Tensor[] | null;
}

function prepare(model: GenerationModel, ids: TokenIds, mask: TokenIds | null): PreparedInputs {
  if (ids === null || ids === undefined) throw invalidArgument('input_ids', 'token ids', ids);
  return prepareInputs(ids, mask, {
    vocab_size: model.config.vocab_size,
    bos: null,
    eos: null,
    pad_token_id: null,
  });
}

/**
 * The logits at every position.
 *
 * @throws InvalidArgumentError as generate does for ids and masks; AbortError.
 */
export async function forward(
  model: GenerationModel,
  options: ForwardOptions,
): Promise<ForwardOutput> {
  checkOptions('forward', options, FORWARD_RULES);
  return withSignal(options.signal, (signal) => run(model, options, signal));
}

async function run(
  model: GenerationModel,
  options: ForwardOptions,
  signal: AbortSignal | undefined,
): Promise<ForwardOutput> {
  const inputs = prepare(model, options.input_ids, options.attention_mask ?? null);
  const positions = inputs.rows.length * inputs.length;
  const scores = positions * model.config.vocab_size;
  checkLimit('input_ids', scores, MAX_FORWARD_SCORES, 'logits, one a position and token,');
  const wantHidden = options.output_hidden_states === true;
  const session = await model.openSession();
  try {
    const { vocab_size, hidden_size } = session;
    const result = await session.forward(
      inputs.prompts.map((tokens) => ({ sequence: session.create(), tokens, logits: 'all' })),
      { hidden: wantHidden, signal },
    );
    return {
      logits: spread(inputs, result.logits, vocab_size),
      hidden_states: wantHidden
        ? [spread(inputs, result.hidden as Float32Array, hidden_size)]
        : null,
    };
  } finally {
    session.dispose();
  }
}

/** Values of the unmasked positions, at their places in [batch, length, width]. */
function spread(
  { rows, mask, length }: PreparedInputs,
  values: Float32Array,
  width: number,
): Tensor {
  const dims = [rows.length, length, width];
  if (values.length === rows.length * length * width) return new Tensor('float32', values, dims);
  const out = elementsFor('float32', rows.length * length * width);
  let from = 0;
  mask.flat().forEach((flag, position) => {
    if (flag === 0) return;
    out.set(values.subarray(from, from + width), position * width);
    from += width;
  });
  return new Tensor('float32', out, dims);
}

/** A text whose likelihood after another is asked for, as ids. */
export interface LoglikelihoodRequest {
  /** At least one token. */
  context: readonly number[];
  /** At least one token. */
  continuation: readonly number[];
}

/** Answer to a {@link LoglikelihoodRequest}. */
export interface Loglikelihood {
  /** Sum of the natural log-probabilities of the continuation's tokens. */
  sum: number;
  /** Each of them was the most probable one. */
  greedy: boolean;
}

/** Positions whose logits one run holds: bounds memory at this times vocab_size floats. */
const POSITIONS_A_RUN = 512;

/**
 * Log-likelihoods of continuations, as evaluation harnesses ask for them. Requests with the same
 * context run it once.
 *
 * @returns answers in the order of the requests.
 * @throws InvalidArgumentError for an empty context or continuation, or ids outside the
 *   vocabulary; AbortError.
 */
export async function loglikelihood(
  model: GenerationModel,
  requests: readonly LoglikelihoodRequest[],
  options: { signal?: AbortSignal | null } = {},
): Promise<Loglikelihood[]> {
  checkOptions('loglikelihood', options, { known: ['signal'] });
  if (!Array.isArray(requests)) throw invalidArgument('requests', 'a list of requests', requests);
  const texts = Array.from(requests, (request, i): LoglikelihoodRequest => {
    const { context, continuation } = request ?? {};
    for (const [part, ids] of Object.entries({ context, continuation })) {
      if (!Array.isArray(ids) || ids.length === 0) {
        throw new InvalidArgumentError(`Request ${i} has no ${part}`, {
          subject: part,
          expected: 'at least one token id',
          found: ids,
        });
      }
    }
    const row = (ids: readonly number[]) => prepare(model, ids, null).prompts[0] as number[];
    return { context: row(context), continuation: row(continuation) };
  });
  return withSignal(options.signal, async (signal) => {
    const answers = new Array<Loglikelihood>(texts.length);
    const session = await model.openSession();
    const slice = new TimeSlice(signal);
    try {
      for (const group of groups(texts)) {
        await scoreGroup({ session, requests: texts, answers, signal, slice }, group);
      }
    } finally {
      session.dispose();
    }
    return answers;
  });
}

/** Indices of requests that run together: equal contexts side by side, bounded in positions. */
function groups(requests: readonly LoglikelihoodRequest[]): number[][] {
  const order = requests.map((request, i) => ({ i, key: request.context.join() }));
  order.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : a.i - b.i));
  const out: number[][] = [];
  let positions = POSITIONS_A_RUN;
  for (const { i } of order) {
    const size = (requests[i] as LoglikelihoodRequest).continuation.length;
    if (positions + size > POSITIONS_A_RUN) {
      out.push([]);
      positions = 0;
    }
    positions += size;
    out.at(-1)?.push(i);
  }
  return out;
}

interface Scoring {
  session: EngineSession;
  requests: readonly LoglikelihoodRequest[];
  answers: Loglikelihood[];
  signal: AbortSignal | undefined;
  slice: TimeSlice;
}

async function scoreGroup(scoring: Scoring, group: readonly number[]): Promise<void> {
  const { session, requests, answers, signal, slice } = scoring;
  const contexts = new Map<string, { sequence: number; tokens: readonly number[] }>();
  const runs = group.map((i) => {
    const { context, continuation } = requests[i] as LoglikelihoodRequest;
    const key = context.join();
    const entry = contexts.get(key) ?? { sequence: session.create(), tokens: context.slice(0, -1) };
    contexts.set(key, entry);
    const tokens = [context.at(-1) as number, ...continuation.slice(0, -1)];
    return { i, continuation, parent: entry.sequence, tokens };
  });
  const prefixes = [...contexts.values()].filter(({ tokens }) => tokens.length > 0);
  if (prefixes.length > 0) {
    const rows = prefixes.map((row): ForwardRow => ({ ...row, logits: 'none' }));
    await session.forward(rows, { signal });
  }
  const rows = runs.map((run) => ({ ...run, sequence: session.fork(run.parent) }));
  for (const { i } of rows) answers[i] = { sum: 0, greedy: true };
  // A continuation longer than a run is the only one of its group, and has several.
  for (let start = 0; rows.some(({ tokens }) => start < tokens.length); start += POSITIONS_A_RUN) {
    const parts = rows.map(({ sequence, tokens }): ForwardRow => {
      return { sequence, tokens: tokens.slice(start, start + POSITIONS_A_RUN), logits: 'all' };
    });
    const { logits } = await session.forward(parts, { signal });
    let position = 0;
    for (const { i, continuation } of rows) {
      const answer = answers[i] as Loglikelihood;
      for (const id of continuation.slice(start, start + POSITIONS_A_RUN)) {
        const first = position++ * session.vocab_size;
        const row = logits.subarray(first, first + session.vocab_size);
        answer.sum += logSoftmax(row)[id] as number;
        answer.greedy &&= argmax(row) === id;
        if (slice.due()) await slice.next();
      }
    }
  }
  for (const { sequence } of [...rows, ...contexts.values()]) session.release(sequence);
}
