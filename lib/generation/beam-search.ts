/**
 * Beam search and beam sampling, with the semantics of transformers 5 (`_beam_search`): each
 * prompt has `num_beams` running beams and keeps its `num_beams` best finished sequences.
 */

import { InvalidArgumentError } from '../errors.js';
import { Tensor } from '../tensor.js';
import { TimeSlice } from '../time-slice.js';
import { type DecodeRequest, fillerOf, newTokenLimits } from './decode-loop.js';
import { Largest, logSoftmax, max, topK } from './float32.js';
import { checkLimit, MAX_PROMPT_TOKENS } from './limits.js';
import { type GenerateOutput, plainOutput, stackRows } from './output.js';
import { checkTop, type RandomStream, randomStreams, uniform, weight } from './random.js';
import { RowSequences } from './sequences.js';
import { LATE } from './user-code.js';
import { WeightTree } from './weight-tree.js';

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

/** A token after one of a prompt's beams: `place` = beam * vocab_size + token. */
interface Candidate {
  place: number;
  /** Sum of log-probabilities with the token's. */
  value: number;
}

/** What both ways to choose candidates look at. */
interface Choice {
  /** Log-probabilities of the next token, one row a beam. */
  rows: readonly Float32Array[];
  /** The beams' sums of log-probabilities. */
  scores: readonly number[];
  count: number;
  slice: TimeSlice;
}

/** The best candidates, best first; of equal ones the first. */
async function chooseBest({ rows, scores, count, slice }: Choice): Promise<Candidate[]> {
  const vocab = rows[0]?.length ?? 0;
  const largest = new Largest(Math.min(count, rows.length * vocab));
  for (const [j, row] of rows.entries()) {
    largest.offer(row, scores[j], j * vocab);
    if (slice.due()) await slice.next();
  }
  return largest.sorted();
}

/** Draws distinct candidates with probabilities softmax(sums), one after the other. */
async function drawCandidates(
  { rows, scores, count, slice }: Choice,
  random: (draw: number) => number,
): Promise<Candidate[]> {
  const vocab = rows[0]?.length ?? 0;
  const sum = (j: number, id: number): number =>
    fround((rows[j]?.[id] as number) + (scores[j] as number));
  let top = Number.NEGATIVE_INFINITY;
  for (const [j, row] of rows.entries()) {
    // Rounding keeps the order, so the largest sum is that of the largest entry.
    top = Math.max(top, fround(max(row) + (scores[j] as number)));
    if (slice.due()) await slice.next();
  }
  checkTop(top);
  const left = new Float32Array(rows.length * vocab);
  for (let j = 0; j < rows.length; j++) {
    for (let id = 0; id < vocab; id++) left[j * vocab + id] = weight(sum(j, id), top);
    if (slice.due()) await slice.next();
  }
  const tree = new WeightTree(left);
  const chosen = new Set<number>();
  let impossible = 0;
  for (let draw = 0; chosen.size < count; draw++) {
    let place = tree.draw(random(draw));
    // Where fewer tokens are possible than are needed, the first impossible ones fill up.
    if (place < 0) {
      while (chosen.has(impossible)) impossible++;
      if (impossible >= left.length) break;
      place = impossible;
    }
    chosen.add(place);
    if (slice.due()) await slice.next();
  }
  return [...chosen].map((place) => ({
    place,
    value: sum(Math.floor(place / vocab), place % vocab),
  }));
}

/** Beam search or beam sampling of all prompts. */
export async function beamSearch(request: DecodeRequest): Promise<GenerateOutput> {
  const { session, config, inputs, processors, criteria, seed, scope } = request;
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
  // Every candidate has a list of its ids.
  const longest = inputs.length + limits.reduce((most, limit) => Math.max(most, limit), 0);
  const tokens = inputs.rows.length * candidatesKept * longest;
  checkLimit(
    'num_beams',
    tokens,
    MAX_PROMPT_TOKENS,
    'tokens in all candidates of up to max_length',
  );
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
  const sequences = new RowSequences(session, scope.signal);
  await sequences.prefill(inputs.prompts, num_beams);
  let pending = inputs.prompts.flatMap((prompt) =>
    new Array<number>(num_beams).fill(prompt.at(-1) as number),
  );

  const slice = new TimeSlice(scope.signal);

  for (let step = 0; ; step++) {
    scope.check();
    const raw = (await sequences.step(pending)) as Float32Array[];
    logits?.push(stackRows(raw));
    const running = states.flatMap((state) => state.running.map(({ ids }) => ids as number[]));
    await processors.prepare(running, everyRow, scope);
    const logSoftmaxes: Float32Array[] = [];
    for (const row of raw) {
      logSoftmaxes.push(logSoftmax(row));
      if (slice.due()) await slice.next();
    }
    const logProbabilities = await processors.run(running, logSoftmaxes, slice);
    scores?.push(stackRows(logProbabilities));

    const candidates: Hypothesis[][] = [];
    for (const [b, state] of states.entries()) {
      const choice: Choice = {
        rows: logProbabilities.slice(b * num_beams, (b + 1) * num_beams),
        scores: state.running.map(({ score }) => score),
        count: candidatesKept,
        slice,
      };
      const random = (draw: number): number =>
        uniform(seed, streams[b * candidatesKept + draw] as RandomStream, step);
      const chosen = config.do_sample
        ? await drawCandidates(choice, random)
        : await chooseBest(choice);
      const list: Hypothesis[] = [];
      for (const { place, value } of chosen) {
        const j = Math.floor(place / vocab);
        const parent = state.running[j] as Hypothesis;
        list.push({
          ids: [...parent.ids, place % vocab],
          beams: [...parent.beams, b * num_beams + j],
          score: value,
        });
        if (slice.due()) await slice.next();
      }
      candidates.push(list);
    }

    const answers = await scope.wait(
      criteria(
        candidates.flatMap((list) => list.map(({ ids }) => ids as number[])),
        scores,
      ),
    );
    let answered = 0;
    let everythingEnds = true;
    const newLength = step + 1;
    for (const [b, state] of states.entries()) {
      const list = candidates[b] as Hypothesis[];
      const full = newLength >= (limits[b] as number);
      const ends = list.map(() => answers === LATE || answers[answered++] === true || full);
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
      const worst = state.finished.reduce(
        (least, { score }) => Math.min(least, score),
        Number.POSITIVE_INFINITY,
      );
      state.improvable &&= state.finished.some(({ done }) => hope > (done ? worst : EXCLUDED));
      if (slice.due()) await slice.next();
    }

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
  const generated = results.reduce((most, { beams }) => Math.max(most, beams.length), 0);
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
