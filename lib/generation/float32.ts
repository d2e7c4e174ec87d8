/**
 * The few array operations generation needs, rounded where PyTorch's float32 rounds on the CPU:
 * every stored value is float32, sums and cumulative sums accumulate in float64.
 */

const fround = Math.fround;

/** Largest finite float32. */
export const FLOAT32_MAX = 3.4028234663852886e38;

/** Largest entry, -Infinity for none; NaN where there is one. */
export function max(values: Float32Array): number {
  let best = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const v = values[i] as number;
    if (Number.isNaN(v)) return v;
    if (v > best) best = v;
  }
  return best;
}

/** Index of the first largest entry; like PyTorch, NaN counts as larger than anything. */
export function argmax(values: Float32Array): number {
  let best = 0;
  let top = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const v = values[i] as number;
    if (Number.isNaN(v)) return i;
    if (v > top) {
      top = v;
      best = i;
    }
  }
  return best;
}

/** exp(x - max), float32, and their sum in float64. */
function shiftedExp(values: Float32Array): { exps: Float32Array; sum: number } {
  const top = max(values);
  const exps = new Float32Array(values.length);
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const e = fround(Math.exp(fround((values[i] as number) - top)));
    exps[i] = e;
    sum += e;
  }
  return { exps, sum };
}

/** Probabilities of logits. */
export function softmax(values: Float32Array): Float32Array {
  const { exps, sum } = shiftedExp(values);
  const divisor = fround(sum);
  for (let i = 0; i < exps.length; i++) exps[i] = (exps[i] as number) / divisor;
  return exps;
}

/** Logarithms of the probabilities of logits. */
export function logSoftmax(values: Float32Array): Float32Array {
  const top = max(values);
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    sum += Math.exp(fround((values[i] as number) - top));
  }
  const shift = fround(Math.log(sum));
  const out = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    out[i] = fround((values[i] as number) - top) - shift;
  }
  return out;
}

/** Numbers that half of a 32-bit key can be. */
const DIGITS = 2 ** 16;

/** Orders `from` by one half of the keys, into `to`; equal halves keep their order. */
function sortByHalf(keys: Uint32Array, shift: 0 | 16, from: Uint32Array, to: Uint32Array): void {
  const next = new Uint32Array(DIGITS + 1);
  for (let i = 0; i < keys.length; i++) {
    const digit = (((keys[i] as number) >>> shift) & 0xffff) + 1;
    next[digit] = (next[digit] as number) + 1;
  }
  for (let d = 1; d <= DIGITS; d++) next[d] = (next[d] as number) + (next[d - 1] as number);
  for (let i = 0; i < from.length; i++) {
    const place = from[i] as number;
    const digit = ((keys[place] as number) >>> shift) & 0xffff;
    const at = next[digit] as number;
    next[digit] = at + 1;
    to[at] = place;
  }
}

/**
 * Indices in ascending order of their values; equal values keep their order, NaN comes last. A radix
 * sort: a vocabulary takes a few milliseconds, where a comparison for every step takes tens.
 *
 * @param among the indices to sort, ascending; all of them by default.
 */
export function sortAscending(values: Float32Array, among?: Uint32Array): Uint32Array {
  const n = among?.length ?? values.length;
  const floats = new Float32Array(n);
  const order = new Uint32Array(n);
  for (let i = 0; i < n; i++) {
    // Adding zero makes -0 equal to 0.
    floats[i] = (values[among === undefined ? i : (among[i] as number)] as number) + 0;
    order[i] = i;
  }
  const keys = new Uint32Array(floats.buffer);
  for (let i = 0; i < n; i++) {
    const bits = keys[i] as number;
    // Integers in the order of the floats: negative ones count down, and NaN has no sign.
    const negative = bits >>> 31 === 1 && (bits & 0x7fffffff) <= 0x7f800000;
    keys[i] = negative ? ~bits : bits | 0x80000000;
  }
  const half = new Uint32Array(n);
  sortByHalf(keys, 0, order, half);
  sortByHalf(keys, 16, half, order);
  if (among !== undefined)
    for (let i = 0; i < n; i++) order[i] = among[order[i] as number] as number;
  return order;
}

/** Indices of the entries above -Infinity, ascending. */
export function finiteIndices(values: Float32Array): Uint32Array {
  const out = new Uint32Array(values.length);
  let n = 0;
  for (let i = 0; i < values.length; i++) {
    if ((values[i] as number) !== Number.NEGATIVE_INFINITY) out[n++] = i;
  }
  return out.subarray(0, n);
}

/**
 * The k largest of values that come one after the other; of equal ones those that came first.
 * O(n + m log k), where m values enter the running selection.
 */
export class Largest {
  /** A binary heap with the worst kept entry at the root. */
  private readonly values: Float32Array;
  private readonly places: Uint32Array;
  private size = 0;

  constructor(private readonly k: number) {
    this.values = new Float32Array(k);
    this.places = new Uint32Array(k);
  }

  /** Offers `values[i] + plus`, rounded to float32, for all i, as entries `first + i`. */
  offer(values: Float32Array, plus = 0, first = 0): void {
    for (let i = 0; i < values.length; i++) {
      const value = fround((values[i] as number) + plus);
      if (this.size < this.k) this.add(value, first + i);
      // Of equal ones the later is the worse, and it comes later.
      else if (value > (this.values[0] as number)) this.siftDown(0, value, first + i);
    }
  }

  /** The places of the kept entries and their values, best first. */
  sorted(): { place: number; value: number }[] {
    const kept = Array.from({ length: this.size }, (_, i) => ({
      place: this.places[i] as number,
      value: this.values[i] as number,
    }));
    return kept.sort((a, b) =>
      a.value < b.value || (a.value === b.value && a.place > b.place) ? 1 : -1,
    );
  }

  private add(value: number, place: number): void {
    let i = this.size++;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.worse(value, place, parent)) break;
      this.set(i, this.values[parent] as number, this.places[parent] as number);
      i = parent;
    }
    this.set(i, value, place);
  }

  private siftDown(start: number, value: number, place: number): void {
    let i = start;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= this.size) break;
      const right = child + 1;
      if (
        right < this.size &&
        this.worse(this.values[right] as number, this.places[right] as number, child)
      ) {
        child = right;
      }
      const v = this.values[child] as number;
      const p = this.places[child] as number;
      if (!(v < value || (v === value && p > place))) break;
      this.set(i, v, p);
      i = child;
    }
    this.set(i, value, place);
  }

  private worse(value: number, place: number, than: number): boolean {
    const other = this.values[than] as number;
    return value < other || (value === other && place > (this.places[than] as number));
  }

  private set(i: number, value: number, place: number): void {
    this.values[i] = value;
    this.places[i] = place;
  }
}

/** Indices of the k largest entries, largest first; of equal ones the lower index comes first. */
export function topK(values: Float32Array, k: number): number[] {
  const largest = new Largest(Math.max(0, Math.min(k, values.length)));
  largest.offer(values);
  return largest.sorted().map(({ place }) => place);
}

/** The k-th largest value, counting equal ones separately. */
export function kthLargest(values: Float32Array, k: number): number {
  return values[topK(values, k).at(-1) as number] as number;
}
