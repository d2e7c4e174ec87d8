/**
 * The order in which PyTorch's CPU `sort` and `topk` leave equal values. It is decided by the
 * algorithms of C++'s standard library as GCC ships it (introsort, introselect and heaps), and it
 * is seen where a warper cuts between equal scores: which of them stay is then a matter of this
 * order. It costs more than a sort of one's own, so callers ask only in that case.
 */

/** Whether the element at one index comes before that at another. */
type Before = (a: number, b: number) => boolean;

/** Ranges up to this length are left to insertion sort. */
const SMALL = 16;

/** Sorting of a list of indices in place; ranges are [first, last). */
class IndexSorter {
  constructor(
    readonly v: Uint32Array,
    private readonly before: Before,
  ) {}

  private at(i: number): number {
    return this.v[i] as number;
  }

  private less(i: number, j: number): boolean {
    return this.before(this.at(i), this.at(j));
  }

  private swap(i: number, j: number): void {
    const x = this.at(i);
    this.v[i] = this.at(j);
    this.v[j] = x;
  }

  /** Partitions around the median of second, middle and last, which moves to `first`. */
  private partition(first: number, last: number): number {
    const [a, b, c] = [first + 1, first + ((last - first) >> 1), last - 1];
    let median: number;
    if (this.less(a, b)) median = this.less(b, c) ? b : this.less(a, c) ? c : a;
    else median = this.less(a, c) ? a : this.less(b, c) ? c : b;
    this.swap(first, median);
    let low = first + 1;
    let high = last;
    for (;;) {
      while (this.less(low, first)) low++;
      high--;
      while (this.less(first, high)) high--;
      if (low >= high) return low;
      this.swap(low, high);
      low++;
    }
  }

  private insert(from: number, first: number): void {
    const x = this.at(from);
    let hole = from;
    while (hole > first && this.before(x, this.at(hole - 1))) {
      this.v[hole] = this.at(hole - 1);
      hole--;
    }
    this.v[hole] = x;
  }

  private insertionSort(first: number, last: number): void {
    for (let i = first + 1; i < last; i++) this.insert(i, first);
  }

  /** Sorts [first, last). */
  sort(first: number, last: number): void {
    this.sortLoop(first, last, depthLimit(last - first));
    this.insertionSort(first, last);
  }

  private sortLoop(first: number, end: number, limit: number): void {
    let last = end;
    for (let depth = limit; last - first > SMALL; depth--) {
      if (depth === 0) {
        this.partialSort(first, last, last);
        return;
      }
      const cut = this.partition(first, last);
      this.sortLoop(cut, last, depth - 1);
      last = cut;
    }
  }

  /** Puts at `nth` what sorting would, and before it what comes before. */
  select(start: number, nth: number, end: number): void {
    let [first, last] = [start, end];
    for (let depth = depthLimit(last - first); last - first > 3; depth--) {
      if (depth === 0) {
        this.heapSelect(first, nth + 1, last);
        this.swap(first, nth);
        return;
      }
      const cut = this.partition(first, last);
      if (cut <= nth) first = cut;
      else last = cut;
    }
    this.insertionSort(first, last);
  }

  /** Sorts the first of [first, last) into [first, middle). */
  partialSort(first: number, middle: number, last: number): void {
    this.heapSelect(first, middle, last);
    for (let end = middle - 1; end > first; end--) this.popHeap(first, end, end);
  }

  private heapSelect(first: number, middle: number, last: number): void {
    const length = middle - first;
    for (let parent = (length - 2) >> 1; parent >= 0; parent--) {
      this.siftDown(first, parent, length, this.at(first + parent));
    }
    for (let i = middle; i < last; i++) if (this.less(i, first)) this.popHeap(first, middle, i);
  }

  /** Moves the top of the heap [first, last) to `result`, and what was there into the heap. */
  private popHeap(first: number, last: number, result: number): void {
    const x = this.at(result);
    this.v[result] = this.at(first);
    this.siftDown(first, 0, last - first, x);
  }

  /** Moves a hole down to a leaf, and `x` from there up to its place. */
  private siftDown(first: number, start: number, length: number, x: number): void {
    const { v } = this;
    let hole = start;
    let child = 2 * hole + 2;
    for (; child < length; child = 2 * hole + 2) {
      if (this.less(first + child, first + child - 1)) child--;
      v[first + hole] = this.at(first + child);
      hole = child;
    }
    if (child === length) {
      v[first + hole] = this.at(first + child - 1);
      hole = child - 1;
    }
    for (let parent = (hole - 1) >> 1; hole > start; parent = (hole - 1) >> 1) {
      if (!this.before(this.at(first + parent), x)) break;
      v[first + hole] = this.at(first + parent);
      hole = parent;
    }
    v[first + hole] = x;
  }
}

/** Depth of partitions at which introsort gives up on them. */
function depthLimit(length: number): number {
  return length === 0 ? 0 : 2 * (31 - Math.clz32(length));
}

function indices(length: number): Uint32Array {
  return Uint32Array.from({ length }, (_, i) => i);
}

/** Indices in ascending order of values, as `torch.sort(values)`. Without NaN. */
export function torchSort(values: Float32Array): Uint32Array {
  const before: Before = (a, b) => (values[a] as number) < (values[b] as number);
  const sorter = new IndexSorter(indices(values.length), before);
  sorter.sort(0, values.length);
  return sorter.v;
}

/** Indices of the k largest values in descending order, as `torch.topk(values, k)`. Without NaN. */
export function torchTopK(values: Float32Array, k: number): Uint32Array {
  const n = values.length;
  const before: Before = (a, b) => (values[a] as number) > (values[b] as number);
  const sorter = new IndexSorter(indices(n), before);
  if (k * 64 <= n) sorter.partialSort(0, k, n);
  else {
    sorter.select(0, k - 1, n);
    sorter.sort(0, k - 1);
  }
  return sorter.v.subarray(0, k);
}
