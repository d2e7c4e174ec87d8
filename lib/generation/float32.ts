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

/**
 * Indices in ascending order of their values; equal values keep their order.
 *
 * @param among the indices to sort; all of them by default.
 */
export function sortAscending(values: Float32Array, among?: Uint32Array): Uint32Array {
  const order = among?.slice() ?? Uint32Array.from(values, (_, i) => i);
  return order.sort((a, b) => {
    const x = values[a] as number;
    const y = values[b] as number;
    return x < y ? -1 : x > y ? 1 : a - b;
  });
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
 * Indices of the k largest entries, largest first; of equal ones the lower index comes first.
 * O(n + m log k), where m entries enter the running selection.
 */
export function topK(values: Float32Array, k: number): number[] {
  const limit = Math.min(k, values.length);
  if (limit <= 0) return [];
  // A binary heap with the worst kept entry at the root.
  const heap: number[] = [];
  const worse = (a: number, b: number): boolean => {
    const x = values[a] as number;
    const y = values[b] as number;
    return x < y || (x === y && a > b);
  };
  const siftDown = (start: number): void => {
    let i = start;
    for (;;) {
      const left = 2 * i + 1;
      if (left >= heap.length) return;
      const right = left + 1;
      const child =
        right < heap.length && worse(heap[right] as number, heap[left] as number) ? right : left;
      if (!worse(heap[child] as number, heap[i] as number)) return;
      [heap[i], heap[child]] = [heap[child] as number, heap[i] as number];
      i = child;
    }
  };
  for (let i = 0; i < limit; i++) heap.push(i);
  for (let i = (limit >> 1) - 1; i >= 0; i--) siftDown(i);
  for (let i = limit; i < values.length; i++) {
    if (worse(heap[0] as number, i)) {
      heap[0] = i;
      siftDown(0);
    }
  }
  return heap.sort((a, b) => (worse(a, b) ? 1 : -1));
}

/** The k-th largest value, counting equal ones separately. */
export function kthLargest(values: Float32Array, k: number): number {
  return values[topK(values, k).at(-1) as number] as number;
}
