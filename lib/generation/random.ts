/**
 * Random numbers of generation. They depend on the seed, the sequence and the step and on nothing
 * else, so that a seed gives the same text alone, in any batch, and on every backend.
 *
 * **This file is the contract; the native samplers repeat it bit for bit.**
 *
 * - Generator: Philox4x32 with 10 rounds (Salmon et al., "Parallel random numbers: as easy as
 *   1, 2, 3", SC 2011; the known-answer vectors are Random123's).
 * - Key: (seed mod 2^32, seed div 2^32) of the 64-bit seed.
 * - Counter: (step, lane, streamHash mod 2^32, streamHash div 2^32). `step` is 0 for a sequence's
 *   first new token. `streamHash` is the 64-bit FNV-1a hash of the prompt's token ids without
 *   padding, each as four little-endian bytes. `lane` = (how many times the same prompt stood
 *   earlier in the batch) * num_return_sequences + index among its return sequences.
 * - Uniform: from the first two output words, u = (out[0] * 2^21 + (out[1] >>> 11)) * 2^-53, in
 *   [0, 1), exact in float64.
 * - Choice: with m = the largest score, w[i] = float32(exp(float32(score[i] - m))), the exponential
 *   taken in float64 and rounded once; total = sum of w in float64 in id order; the token is the
 *   first id whose running float64 sum exceeds u * total (u * total rounded to float64), or the
 *   last id with w > 0 should rounding leave none.
 */

import { InvalidArgumentError, invalidArgument } from '../errors.js';
import { max } from './float32.js';

const fround = Math.fround;

/** High 32 bits of the product of two unsigned 32-bit integers. */
function mulHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const middle2 = aLow * bHigh + (middle % 0x10000);
  return (aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(middle2 / 0x10000)) >>> 0;
}

/** Four 32-bit words. */
export type Words4 = readonly [number, number, number, number];

/**
 * Philox4x32-10.
 *
 * @param counter four unsigned 32-bit words.
 * @param key two unsigned 32-bit words.
 * @returns four unsigned 32-bit words.
 */
export function philox4x32(counter: Words4, key: readonly [number, number]): Words4 {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = mulHigh(0xd2511f53, c0);
    const low0 = Math.imul(0xd2511f53, c0) >>> 0;
    const high1 = mulHigh(0xcd9e8d57, c2);
    const low1 = Math.imul(0xcd9e8d57, c2) >>> 0;
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** 64-bit FNV-1a over token ids, each as four little-endian bytes. */
export function streamHash(ids: readonly number[]): bigint {
  // The prime is 2^40 + 0x1b3; the 64-bit product is taken on two 32-bit halves.
  let low = 0x84222325;
  let high = 0xcbf29ce4;
  for (const id of ids) {
    for (let shift = 0; shift < 32; shift += 8) {
      low = (low ^ ((id >>> shift) & 0xff)) >>> 0;
      const product = low * 0x1b3;
      high = (Math.imul(high, 0x1b3) + (low << 8) + Math.floor(product / 0x100000000)) >>> 0;
      low = product >>> 0;
    }
  }
  return (BigInt(high) << 32n) | BigInt(low);
}

/** Where a sequence's random numbers come from. */
export interface RandomStream {
  readonly hash: bigint;
  readonly lane: number;
}

/** The streams of the rows of a batch: one for each prompt and return sequence, prompts outermost. */
export function randomStreams(
  prompts: readonly (readonly number[])[],
  num_return_sequences: number,
): RandomStream[] {
  const seen = new Map<bigint, number>();
  return prompts.flatMap((prompt) => {
    const hash = streamHash(prompt);
    const occurrence = seen.get(hash) ?? 0;
    seen.set(hash, occurrence + 1);
    return Array.from({ length: num_return_sequences }, (_, i) => ({
      hash,
      lane: occurrence * num_return_sequences + i,
    }));
  });
}

/** A seed as the option takes it, to 64 bits. */
export function toSeed(seed: number | bigint): bigint {
  if (typeof seed === 'bigint') return BigInt.asUintN(64, seed);
  if (!Number.isSafeInteger(seed)) throw invalidArgument('seed', 'an integer or a bigint', seed);
  return BigInt.asUintN(64, BigInt(seed));
}

let chosen: { seed: bigint; calls: number } | null = null;

/**
 * Makes what follows repeatable, as transformers' function of this name does: calls that sample and have
 * no `seed` of their own get seeds that follow from this one, the first of them this one itself. Calls
 * that run at the same time get theirs in the order in which they were made. Of this thread.
 *
 * @param seed 64 bits; null goes back to seeds that nobody chose.
 * @throws InvalidArgumentError for what is no integer.
 */
export function set_seed(seed: number | bigint | null): void {
  chosen = seed === null ? null : { seed: toSeed(seed), calls: 0 };
}

/** The seed of a call that has none of its own. */
export function nextSeed(): bigint {
  if (chosen === null) return globalThis.crypto.getRandomValues(new BigUint64Array(1))[0] as bigint;
  const { seed } = chosen;
  const call = chosen.calls++;
  if (call === 0) return seed;
  const key = [Number(seed & 0xffffffffn), Number(seed >> 32n)] as const;
  const [low, high] = philox4x32([call >>> 0, Math.floor(call / 2 ** 32) >>> 0, 0, 0], key);
  return (BigInt(high) << 32n) | BigInt(low);
}

/** The uniform number in [0, 1) of one step of one stream. */
export function uniform(seed: bigint, stream: RandomStream, step: number): number {
  const low = (x: bigint): number => Number(x & 0xffffffffn);
  const [a, b] = philox4x32(
    [step >>> 0, stream.lane >>> 0, low(stream.hash), low(stream.hash >> 32n)],
    [low(seed), low(seed >> 32n)],
  );
  return (a * 2 ** 21 + (b >>> 11)) * 2 ** -53;
}

/**
 * @param top the largest score.
 * @throws InvalidArgumentError where scores make no distribution
 */
export function checkTop(top: number): void {
  if (!Number.isFinite(top)) {
    throw new InvalidArgumentError(
      'probability tensor contains either `inf`, `nan` or element < 0',
      {
        found: `a largest score of ${top}`,
        remedy:
          'The model produced invalid logits, or the processors forbade every token; ' +
          '`remove_invalid_values: true` replaces invalid logits',
      },
    );
  }
}

/** Unnormalised probability of a score, where `top` is the largest one. */
export function weight(score: number, top: number): number {
  return fround(Math.exp(fround(score - top)));
}

/** Unnormalised probabilities of scores, as the contract above rounds them, and their sum. */
function weights(scores: Float32Array): { weights: Float32Array; total: number } {
  const top = max(scores);
  checkTop(top);
  const out = new Float32Array(scores.length);
  let total = 0;
  for (let i = 0; i < scores.length; i++) {
    const w = weight(scores[i] as number, top);
    out[i] = w;
    total += w;
  }
  return { weights: out, total };
}

/** First index whose running sum of weights exceeds `u * total`. */
export function pick(w: Float32Array, total: number, u: number): number {
  const target = u * total;
  let sum = 0;
  let last = 0;
  for (let i = 0; i < w.length; i++) {
    const weight = w[i] as number;
    if (weight > 0) last = i;
    sum += weight;
    if (sum > target) return i;
  }
  return last;
}

/** Draws a token from the distribution that scores (logits) describe. */
export function sampleToken(scores: Float32Array, u: number): number {
  const { weights: w, total } = weights(scores);
  return pick(w, total, u);
}
