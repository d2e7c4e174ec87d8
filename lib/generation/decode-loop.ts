/** Greedy decoding and sampling, natively or step by step. */

import type { EngineSession } from '../engine.js';
import type { Tensor } from '../tensor.js';
import { TimeSlice } from '../time-slice.js';
import { type NativePlan, planNative } from './decode-plan.js';
import { argmax } from './float32.js';
import type { PreparedInputs } from './inputs.js';
import type { LogitsProcessorList } from './logits-processor.js';
import type { GenerationStreamer } from './model.js';
import {
  type ChosenTokenLogprob,
  chosenLogprob,
  type GenerateOutput,
  plainOutput,
  stackRows,
} from './output.js';
import { type RandomStream, randomStreams, sampleToken, uniform } from './random.js';
import type { ResolvedConfig } from './resolve.js';
import { RowSequences } from './sequences.js';
import { MaxLengthCriteria, type StoppingCriteriaList } from './stopping-criteria.js';
import { type CallScope, LATE, type Late } from './user-code.js';

/** Everything a decoding method works with. */
export interface DecodeRequest {
  session: EngineSession;
  config: ResolvedConfig;
  inputs: PreparedInputs;
  processors: LogitsProcessorList;
  criteria: StoppingCriteriaList;
  streamer: GenerationStreamer | null;
  seed: bigint;
  scope: CallScope;
  /** As the option: null is off. */
  output_logprobs: number | null;
}

/** Id that stands in rows that have finished. */
export function fillerOf(config: ResolvedConfig): number {
  return config.pad ?? 0;
}

/** Most new tokens of each prompt: up to the length limit, and what the cache can hold. */
export function newTokenLimits({ session, criteria, inputs }: DecodeRequest): number[] {
  let max_length = Number.POSITIVE_INFINITY;
  for (const c of criteria) {
    if (c.constructor === MaxLengthCriteria) {
      max_length = Math.min(max_length, (c as MaxLengthCriteria).max_length);
    }
  }
  // A row's last token need not be in the cache.
  return inputs.prompts.map((prompt) =>
    Math.max(1, Math.min(max_length - inputs.length, session.max_length - prompt.length + 1)),
  );
}

/** Greedy decoding or sampling of all rows. */
export async function decode(request: DecodeRequest): Promise<GenerateOutput> {
  const { config, inputs, output_logprobs } = request;
  const plan = planNative({
    processors: request.processors,
    criteria: request.criteria,
    do_sample: config.do_sample,
    promptLength: inputs.length,
    needsScores: config.output_scores || config.output_logits || (output_logprobs ?? 0) > 0,
  });
  return plan === null ? decodeInJavaScript(request) : decodeNatively(request, plan);
}

async function decodeNatively(request: DecodeRequest, plan: NativePlan): Promise<GenerateOutput> {
  const { session, config, inputs, streamer, scope } = request;
  const copies = config.num_return_sequences;
  const { prompts } = inputs;
  const ids = inputs.rows.flatMap((row) => Array.from({ length: copies }, () => row.slice()));
  const streams = randomStreams(prompts, copies);
  const limits = newTokenLimits(request);
  const filler = fillerOf(config);
  const logprobs: ChosenTokenLogprob[][] | null =
    request.output_logprobs === null ? null : ids.map(() => []);

  const sequences = new RowSequences(session, scope.signal);
  const distinct = new Set(prompts.map((prompt) => prompt.join())).size;
  const shared = distinct < ids.length;
  let handles: readonly number[];
  if (shared) {
    await sequences.prefill(prompts, copies);
    handles = sequences.own(ids.map((_, r) => r));
  } else {
    handles = prompts.map(() => session.create());
  }
  const rows = ids.map((_, r) => {
    const p = Math.floor(r / copies);
    const prompt = prompts[p] as number[];
    const stream = streams[r] as RandomStream;
    return {
      sequence: handles[r] as number,
      tokens: shared ? prompt.slice(-1) : prompt,
      history: prompt,
      streamHash: stream.hash,
      streamLane: stream.lane,
      max_new_tokens: limits[p] as number,
    };
  });

  const judge = plan.judges.length > 0;
  const nobody = ids.map(() => false);
  const everybody = ids.map(() => true);
  await session.decode({
    rows,
    sampling: plan.sampling,
    eos_token_ids: plan.eos_token_ids,
    seed: request.seed,
    logprobs: logprobs !== null,
    // A streamer may give a promise to be waited for.
    ask: judge || streamer !== null,
    signal: scope.signal,
    onStep: (step) => {
      const chosen = ids.map((row, r) => {
        const token = step.tokens[r] as number;
        if (token >= 0) {
          logprobs?.[r]?.push({ token_id: token, logprob: step.logprobs?.[r] as number, top: [] });
        }
        row.push(token >= 0 ? token : filler);
        return [row.at(-1) as number];
      });
      scope.check();
      const judged = (shown: void | Late): boolean[] | Promise<boolean[] | Late> => {
        if (shown === LATE) return everybody;
        return judge ? scope.wait(plan.judges(ids, null)) : nobody;
      };
      const shown = scope.wait(streamer?.put(chosen));
      const done = shown instanceof Promise ? shown.then(judged) : judged(shown);
      return done instanceof Promise
        ? done.then((flags) => (flags === LATE ? everybody : flags))
        : done;
    },
  });
  return { ...plainOutput(ids), logprobs };
}

async function decodeInJavaScript(request: DecodeRequest): Promise<GenerateOutput> {
  const { config, inputs, processors, criteria, streamer, seed, scope, session } = request;
  const copies = config.num_return_sequences;
  const ids = inputs.rows.flatMap((row) => Array.from({ length: copies }, () => row.slice()));
  const streams = randomStreams(inputs.prompts, copies);
  const limits = newTokenLimits(request);
  const room = inputs.prompts.map((prompt) => session.max_length - prompt.length + 1);
  const filler = fillerOf(config);
  const active = ids.map(() => true);
  // As in transformers, recorded steps have scores for finished rows too.
  const runFinished = config.output_scores || config.output_logits;
  const idle = new Float32Array(session.vocab_size);

  const scores: Tensor[] | null = config.output_scores ? [] : null;
  const logits: Tensor[] | null = config.output_logits ? [] : null;
  const { output_logprobs } = request;
  const logprobs: ChosenTokenLogprob[][] | null =
    output_logprobs === null ? null : ids.map(() => []);

  const sequences = new RowSequences(session, scope.signal);
  await sequences.prefill(inputs.prompts, copies);
  let pending: (number | null)[] = ids.map(
    (_, r) => inputs.prompts[Math.floor(r / copies)]?.at(-1) as number,
  );
  const slice = new TimeSlice(scope.signal);
  for (let step = 0; active.includes(true); step++) {
    scope.check();
    const raw = (await sequences.step(pending)).map((row) => row ?? idle.slice());
    logits?.push(stackRows(raw));
    await processors.prepare(ids, active, scope);
    const processed = await processors.run(ids, raw, slice);
    scores?.push(stackRows(processed));

    const tokens: number[] = [];
    for (const [r, row] of processed.entries()) {
      if (active[r]) {
        const token = config.do_sample
          ? sampleToken(row, uniform(seed, streams[r] as RandomStream, step))
          : argmax(row);
        logprobs?.[r]?.push(chosenLogprob(row, token, output_logprobs ?? 0));
        tokens.push(token);
      } else tokens.push(filler);
      if (slice.due()) await slice.next();
    }
    tokens.forEach((token, r) => {
      ids[r]?.push(token);
    });
    const shown = await scope.wait(streamer?.put(tokens.map((token) => [token])));
    const done = shown === LATE ? LATE : await scope.wait(criteria(ids, scores));
    pending = tokens.map((token, r) => {
      const prompt = Math.floor(r / copies);
      const wasActive = active[r];
      if (done === LATE || done[r] || step + 1 >= (limits[prompt] as number)) active[r] = false;
      if (active[r]) return token;
      if (runFinished && step + 1 < (room[prompt] as number)) return token;
      if (wasActive || runFinished) sequences.release(r);
      return null;
    });
  }
  return { ...plainOutput(ids), scores, logits, logprobs };
}
