/**
 * The processors that shape a distribution before a token is drawn from it, under transformers'
 * class names and with its float32 arithmetic. They run only when sampling.
 *
 * Common parameters: `filter_value` (default -Infinity) is what a removed token's score becomes;
 * `min_tokens_to_keep` (default 1) tokens with the best scores are never removed.
 */

import { InvalidArgumentError, invalidArgument, show } from '../errors.js';
import {
  argmax,
  FLOAT32_MAX,
  finiteIndices,
  kthLargest,
  logSoftmax,
  max,
  softmax,
  sortAscending,
  topK,
} from './float32.js';
import { RowLogitsProcessor } from './logits-processor.js';
import { torchSort, torchTopK } from './torch-order.js';

const fround = Math.fround;

/** Keeps the scores for which `keep` holds. */
function filter(
  scores: Float32Array,
  filter_value: number,
  keep: (id: number) => boolean,
): Float32Array {
  const out = new Float32Array(scores.length).fill(filter_value);
  for (let i = 0; i < scores.length; i++) if (keep(i)) out[i] = scores[i] as number;
  return out;
}

/** `value`, which lies between 0 and 1, ends excluded. */
function checkOpenUnit(subject: string, value: number): number {
  if (typeof value === 'number' && value > 0 && value < 1) return value;
  throw new InvalidArgumentError(
    `\`${subject}\` has to be a float > 0 and < 1, but is ${show(value)}`,
    {
      subject,
    },
  );
}

function checkMinTokensToKeep(n: number): number {
  if (!Number.isInteger(n) || n < 1) {
    throw new InvalidArgumentError(
      `\`min_tokens_to_keep\` has to be a positive integer, but is ${show(n)}`,
    );
  }
  return n;
}

function checkFilterValue(value: number): number {
  if (typeof value === 'number') return value;
  throw invalidArgument('filter_value', 'a number', value);
}

/** Entropy in nats of the distribution that logits describe; impossible tokens add nothing. */
function entropy(logits: Float32Array): number {
  const logProbabilities = logSoftmax(logits);
  const probabilities = softmax(logits);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) {
    const p = probabilities[i] as number;
    sum += fround(Math.max(logProbabilities[i] as number, -FLOAT32_MAX) * p);
  }
  return fround(-sum);
}

/** score / temperature. */
export class TemperatureLogitsWarper extends RowLogitsProcessor {
  readonly temperature: number;

  /** @param temperature > 0; below 1 sharpens the distribution, above 1 flattens it. */
  constructor(temperature: number) {
    super();
    if (typeof temperature !== 'number' || !(temperature > 0)) {
      let text =
        `\`temperature\` (=${show(temperature)}) has to be a strictly positive float, otherwise your ` +
        'next token scores will be invalid.';
      if (temperature === 0) {
        text += " If you're looking for greedy decoding strategies, set `do_sample: false`.";
      }
      throw new InvalidArgumentError(text, { subject: 'temperature' });
    }
    this.temperature = temperature;
  }

  processRow(_: number[], row: Float32Array): Float32Array {
    const divisor = fround(this.temperature);
    return row.map((x) => x / divisor);
  }
}

/** Keeps the `top_k` largest scores, and those equal to the k-th. */
export class TopKLogitsWarper extends RowLogitsProcessor {
  readonly top_k: number;
  readonly filter_value: number;

  constructor(top_k: number, filter_value = Number.NEGATIVE_INFINITY, min_tokens_to_keep = 1) {
    super();
    if (!Number.isInteger(top_k) || top_k <= 0) {
      throw new InvalidArgumentError(
        `\`top_k\` has to be a strictly positive integer, but is ${show(top_k)}`,
        { subject: 'top_k' },
      );
    }
    this.top_k = Math.max(top_k, checkMinTokensToKeep(min_tokens_to_keep));
    this.filter_value = checkFilterValue(filter_value);
  }

  processRow(_: number[], row: Float32Array): Float32Array {
    const kth = kthLargest(row, this.top_k);
    return row.map((x) => (x < kth ? this.filter_value : x));
  }
}

/** Keeps the smallest set of most probable tokens whose probabilities add up to `top_p`. */
export class TopPLogitsWarper extends RowLogitsProcessor {
  readonly top_p: number;
  readonly filter_value: number;
  readonly min_tokens_to_keep: number;

  /** @param top_p in [0, 1]; 0 keeps `min_tokens_to_keep`. */
  constructor(top_p: number, filter_value = Number.NEGATIVE_INFINITY, min_tokens_to_keep = 1) {
    super();
    if (!(typeof top_p === 'number' && top_p >= 0 && top_p <= 1)) {
      throw new InvalidArgumentError(
        `\`top_p\` has to be a float > 0 and < 1, but is ${show(top_p)}`,
        {
          subject: 'top_p',
        },
      );
    }
    this.top_p = top_p;
    this.filter_value = checkFilterValue(filter_value);
    this.min_tokens_to_keep = checkMinTokensToKeep(min_tokens_to_keep);
  }

  processRow(_: number[], row: Float32Array): Float32Array {
    const threshold = fround(1 - this.top_p);
    const probabilities = softmax(row);
    // Impossible tokens come first, add nothing and are removed: sort the others only.
    const order = sortAscending(row, finiteIndices(row));
    let removed = 0;
    let cumulative = 0;
    for (; removed < order.length - this.min_tokens_to_keep; removed++) {
      cumulative += probabilities[order[removed] as number] as number;
      if (fround(cumulative) > threshold) break;
    }
    const out = row.slice();
    for (const id of firstOf(row, order, removed)) out[id] = this.filter_value;
    return out;
  }
}

/** The first `count` of the possible tokens in ascending order; among equals PyTorch's first. */
function firstOf(row: Float32Array, order: Uint32Array, count: number): Uint32Array {
  const cutsEquals =
    count > 0 &&
    count < order.length &&
    row[order[count - 1] as number] === row[order[count] as number];
  if (!cutsEquals) return order.subarray(0, count);
  const impossible = row.length - order.length;
  return torchSort(row).subarray(impossible, impossible + count);
}

/** Keeps tokens at least `min_p` times as probable as the most probable one. */
export class MinPLogitsWarper extends RowLogitsProcessor {
  readonly min_p: number;
  readonly filter_value: number;
  readonly min_tokens_to_keep: number;

  /** @param min_p in [0, 1]. */
  constructor(min_p: number, filter_value = Number.NEGATIVE_INFINITY, min_tokens_to_keep = 1) {
    super();
    if (!(typeof min_p === 'number' && min_p >= 0 && min_p <= 1)) {
      throw new InvalidArgumentError(
        `\`min_p\` has to be a float in the [0, 1] interval, but is ${show(min_p)}`,
        { subject: 'min_p' },
      );
    }
    this.min_p = min_p;
    this.filter_value = checkFilterValue(filter_value);
    this.min_tokens_to_keep = checkMinTokensToKeep(min_tokens_to_keep);
  }

  processRow(_: number[], row: Float32Array): Float32Array {
    const probabilities = softmax(row);
    const threshold = fround(fround(this.min_p) * max(probabilities));
    const best = new Set(topK(probabilities, this.min_tokens_to_keep));
    return filter(
      row,
      this.filter_value,
      (id) => !((probabilities[id] as number) < threshold) || best.has(id),
    );
  }
}

/**
 * Keeps the most probable tokens while their entropy stays within `top_h` times the entropy of
 * the 100 most probable ones.
 */
export class TopHLogitsWarper extends RowLogitsProcessor {
  readonly top_h: number;
  readonly filter_value: number;

  /** @param top_h in (0, 1]. */
  constructor(top_h: number, filter_value = Number.NEGATIVE_INFINITY) {
    super();
    if (!(typeof top_h === 'number' && top_h > 0 && top_h <= 1)) {
      throw new InvalidArgumentError('`top_h` must be in the range (0, 1].', { subject: 'top_h' });
    }
    this.top_h = top_h;
    this.filter_value = checkFilterValue(filter_value);
  }

  processRow(_: number[], row: Float32Array): Float32Array {
    const order = torchTopK(row, Math.min(100, row.length));
    const logits = Float32Array.from(order, (id) => row[id] as number);
    const probabilities = softmax(logits);
    const budget = fround(entropy(logits) * fround(this.top_h));
    const kept = new Set<number>([order[0] as number]);
    let sum = 0;
    for (let i = 0; i < order.length; i++) {
      const p = probabilities[i] as number;
      sum += fround(-p * fround(Math.log(p)));
      // A probability of 0 makes the sum NaN: nothing after it is kept.
      if (!(fround(sum) <= budget)) break;
      kept.add(order[i] as number);
    }
    return filter(row, this.filter_value, (id) => kept.has(id));
  }
}

/** Keeps the tokens whose surprise is nearest the expected one, up to a mass of `typical_p`. */
export class TypicalLogitsWarper extends RowLogitsProcessor {
  readonly mass: number;
  readonly filter_value: number;
  readonly min_tokens_to_keep: number;

  /** @param mass `typical_p`, in (0, 1). */
  constructor(mass = 0.9, filter_value = Number.NEGATIVE_INFINITY, min_tokens_to_keep = 1) {
    super();
    this.mass = checkOpenUnit('typical_p', mass);
    this.filter_value = checkFilterValue(filter_value);
    this.min_tokens_to_keep = checkMinTokensToKeep(min_tokens_to_keep);
  }

  processRow(_: number[], row: Float32Array): Float32Array {
    const mass = fround(this.mass);
    const normalized = logSoftmax(row);
    let sum = 0;
    for (const x of normalized) {
      const term = fround(x * fround(Math.exp(x)));
      if (!Number.isNaN(term)) sum += term;
    }
    const expected = fround(-sum);
    const shifted = normalized.map((x) => Math.abs(fround(-x - expected)));
    const probabilities = softmax(row);
    const order = sortAscending(shifted);
    let cumulative = 0;
    let last = 0;
    for (const id of order) {
      cumulative += probabilities[id] as number;
      if (!(fround(cumulative) < mass)) break;
      last++;
    }
    const limit = shifted[order[Math.min(last, order.length - 1)] as number] as number;
    const out = row.slice();
    for (let i = this.min_tokens_to_keep; i < order.length; i++) {
      const id = order[i] as number;
      if ((shifted[id] as number) > limit) out[id] = this.filter_value;
    }
    return out;
  }
}

/** Removes tokens less probable than `epsilon`. */
export class EpsilonLogitsWarper extends RowLogitsProcessor {
  readonly epsilon: number;
  readonly filter_value: number;
  readonly min_tokens_to_keep: number;

  /** @param epsilon `epsilon_cutoff`, in (0, 1). */
  constructor(epsilon: number, filter_value = Number.NEGATIVE_INFINITY, min_tokens_to_keep = 1) {
    super();
    this.epsilon = checkOpenUnit('epsilon_cutoff', epsilon);
    this.filter_value = checkFilterValue(filter_value);
    this.min_tokens_to_keep = checkMinTokensToKeep(min_tokens_to_keep);
  }

  processRow(_: number[], row: Float32Array): Float32Array {
    return cutoff(row, fround(this.epsilon), this.filter_value, this.min_tokens_to_keep);
  }
}

/** Removes tokens less probable than min(epsilon, sqrt(epsilon) * exp(-entropy)). */
export class EtaLogitsWarper extends RowLogitsProcessor {
  readonly epsilon: number;
  readonly filter_value: number;
  readonly min_tokens_to_keep: number;

  /** @param epsilon `eta_cutoff`, in (0, 1). */
  constructor(epsilon: number, filter_value = Number.NEGATIVE_INFINITY, min_tokens_to_keep = 1) {
    super();
    this.epsilon = checkOpenUnit('eta_cutoff', epsilon);
    this.filter_value = checkFilterValue(filter_value);
    this.min_tokens_to_keep = checkMinTokensToKeep(min_tokens_to_keep);
  }

  processRow(_: number[], row: Float32Array): Float32Array {
    const epsilon = fround(this.epsilon);
    const scale = fround(Math.exp(-entropy(row)));
    const eta = Math.min(epsilon, fround(fround(Math.sqrt(epsilon)) * scale));
    return cutoff(row, eta, this.filter_value, this.min_tokens_to_keep);
  }
}

function cutoff(
  row: Float32Array,
  threshold: number,
  filter_value: number,
  min_tokens_to_keep: number,
): Float32Array {
  const probabilities = softmax(row);
  const kth =
    min_tokens_to_keep === 1 ? (row[argmax(row)] as number) : kthLargest(row, min_tokens_to_keep);
  return filter(
    row,
    filter_value,
    (id) => !((probabilities[id] as number) < threshold) || !((row[id] as number) < kth),
  );
}

/** Makes scores log-probabilities again. Always the last processor. */
export class LogitNormalization extends RowLogitsProcessor {
  processRow(_: number[], row: Float32Array): Float32Array {
    return logSoftmax(row);
  }
}
