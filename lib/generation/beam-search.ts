/**
 * Beam search and beam sampling, with the semantics of transformers 5 (`_beam_search`): each
 * prompt has `num_beams` running beams and keeps its `num_beams` best finished sequences.
 */

import { InvalidArgumentError, throwIfAborted } from '../errors.js';
import { Tensor } from '../tensor.js';
import { type DecodeRequest, fillerOf, newTokenLimits } from './decode-loop.js';
import { logSoftmax, topK } from './float32.js';
import { type GenerateOutput, plainOutput, stackRows } from './output.js';
import { pick, type RandomStream, randomStreams, uniform, weights } from './random.js';
import { RowSequences } from './sequences.js';

const fround = Math.fround;

/** What is added to the score of a candidate that must not be chosen. */
const EXCLUDED = -1e9;

/** A sequence with its score. */
interface Hypothesis {
  /** Prompt, with its padding, and new tokens. */
  readonly ids: readonly number[];
  /** For each new token the row (over the whole batch) it was chosen in. */
  readonly beams: readonly number[];
  /** Sum of log-probabilities; for finished sequences divided by length^length_penalty. */
  readonly score: number;
}

/** The beams of one prompt. */
interface BeamState {
  running: Hypothesis[];
  finished: (Hypothesis & { done: boolean })[];
  /** Running beams may still overtake the finished ones. */
  improvable: boolean;
}

/** The `count` best by score, best first; of equal ones the first. */
function best<T extends { readonly score: number }>(hypotheses: readonly T[], count: number): T[] {
  const scores = Float32Array.from(hypotheses, (h) => h.score);
  return topK(scores, count).map((i) => hypotheses[i] as T);
}

/** Draws distinct indices with probabilities softmax(scores), one after the other. */
function sampleWithoutReplacement(
  scores: Float32Array,
  count: number,
  random: (draw: number) => number,
): number[] {
  const { weights: left } = weights(scores);
  const chosen = new Set<number>();
  for (let draw = 0; chosen.size < count; draw++) {
    let total = 0;
    for (const w of left) total += w;
    // Where fewer tokens are possible than are needed, the first impossible ones fill up.
    const index =
      total > 0 ? pick(left, total, random(draw)) : left.findIndex((_, i) => !chosen.has(i));
    if (index < 0) break;
    chosen.add(index);
    left[index] = 0;
  }
  return [...chosen];
}

/** Beam search or beam sampling of all prompts. */
export async function beamSearch(request: DecodeRequest): Promise<GenerateOutput> {
  const { session, config, inputs, processors, criteria, seed, signal } = request;
  const { num_beams, early_stopping, length_penalty, num_return_sequences } = config;
  if (request.output_logprobs !== null) {
    throw new InvalidArgumentError('`output_logprobs` cannot be used with beam search', {
      subject: 'output_logprobs',
      remedy: 'Use `output_scores: true` and `compute_transition_scores`',
    });
  }
  const vocab = session.vocab_size;
  const candidatesKept = Math.max(2, 1 + (config.eos?.length ?? 0)) * num_beams;
  const limits = newTokenLimits(request);
  const streams = randomStreams(inputs.prompts, candidatesKept);
  const scale = (length: number): number => fround(length ** length_penalty);

  const states: BeamState[] = inputs.rows.map((ids) => ({
    // Only the first beam counts at first, or all beams would be the same.
    running: Array.from({ length: num_beams }, (_, j) => ({
      ids,
      beams: [],
      score: j === 0 ? 0 : EXCLUDED,
    })),
    finished: Array.from({ length: num_beams }, () => ({
      ids,
      beams: [],
      score: EXCLUDED,
      done: false,
    })),
    improvable: true,
  }));

  const scores: Tensor[] | null = config.output_scores ? [] : null;
  const logits: Tensor[] | null = config.output_logits ? [] : null;
  const everyRow = inputs.rows.flatMap(() => new Array<boolean>(num_beams).fill(true));
  const sequences = new RowSequences(session, signal);
  await sequences.prefill(inputs.prompts, num_beams);
  let pending = inputs.prompts.flatMap((prompt) =>
    new Array<number>(num_beams).fill(prompt.at(-1) as number),
  );

  for (let step = 0; ; step++) {
    throwIfAborted(signal);
    const raw = (await sequences.step(pending)) as Float32Array[];
    logits?.push(stackRows(raw));
    const running = states.flatMap((state) => state.running.map(({ ids }) => ids as number[]));
    await processors.prepare(running, everyRow);
    const logProbabilities = processors(running, raw.map(logSoftmax));
    scores?.push(stackRows(logProbabilities));

    const candidates = states.map((state, b) => {
      const sums = new Float32Array(num_beams * vocab);
      state.running.forEach(({ score }, j) => {
        const row = logProbabilities[b * num_beams + j] as Float32Array;
        for (let id = 0; id < vocab; id++) sums[j * vocab + id] = (row[id] as number) + score;
      });
      const random = (draw: number): number =>
        uniform(seed, streams[b * candidatesKept + draw] as RandomStream, step);
      const chosen = config.do_sample
        ? sampleWithoutReplacement(sums, candidatesKept, random)
        : topK(sums, candidatesKept);
      return chosen.map((index): Hypothesis => {
        const j = Math.floor(index / vocab);
        const parent = state.running[j] as Hypothesis;
        return {
          ids: [...parent.ids, index % vocab],
          beams: [...parent.beams, b * num_beams + j],
          score: sums[index] as number,
        };
      });
    });

    const answers = await criteria(
      candidates.flatMap((list) => list.map(({ ids }) => ids as number[])),
      scores,
    );
    let answered = 0;
    let everythingEnds = true;
    const newLength = step + 1;
    states.forEach((state, b) => {
      const list = candidates[b] as Hypothesis[];
      const full = newLength >= (limits[b] as number);
      const ends = list.map(() => answers[answered++] === true || full);
      everythingEnds &&= !ends.includes(false);

      state.running = best(
        list.map((h, k) => ({ ...h, score: fround(h.score + (ends[k] ? EXCLUDED : 0)) })),
        num_beams,
      );
      const closed = early_stopping === true && state.finished.every(({ done }) => done);
      const merged = list.map((h, k) => {
        // The candidates beyond the first num_beams only stand by to go on.
        const done = ends[k] === true && k < num_beams;
        let score = fround(h.score / scale(newLength));
        if (closed) score = fround(score + EXCLUDED);
        if (!state.improvable) score = fround(score + EXCLUDED);
        if (!done) score = fround(score + EXCLUDED);
        return { ...h, score, done };
      });
      state.finished = best([...state.finished, ...merged], num_beams);

      const length =
        early_stopping === 'never' && length_penalty > 0
          ? config.max_length - inputs.length
          : newLength;
      const hope = fround((state.running[0] as Hypothesis).score / scale(length));
      const worst = Math.min(...state.finished.map(({ score }) => score));
      state.improvable &&= state.finished.some(({ done }) => hope > (done ? worst : EXCLUDED));
    });

    const allDone = states.every((state) => state.finished.every(({ done }) => done));
    const open = !(early_stopping === true && allDone);
    if (!(states.some((state) => state.improvable) && open && !everythingEnds)) break;

    const next = states.flatMap((state) => state.running);
    const parents = next.map(({ beams }) => beams.at(-1) as number);
    sequences.reorder(parents);
    processors.reorder(parents);
    pending = next.map(({ ids }) => ids.at(-1) as number);
  }

  const results = states.flatMap((state) => state.finished.slice(0, num_return_sequences));
  const generated = Math.max(...results.map(({ beams }) => beams.length));
  const pad = (values: readonly number[], length: number, filler: number): number[] => [
    ...values,
    ...new Array<number>(length - values.length).fill(filler),
  ];
  const filler = fillerOf(config);
  return {
    ...plainOutput(results.map(({ ids }) => pad(ids, inputs.length + generated, filler))),
    scores,
    logits,
    sequences_scores: config.output_scores
      ? new Tensor(
          'float32',
          Float32Array.from(results, (r) => r.score),
          [results.length],
        )
      : null,
    beam_indices: new Tensor(
      'int32',
      Int32Array.from(results.flatMap(({ beams }) => pad(beams, generated, -1))),
      [results.length, generated],
    ),
  };
}
