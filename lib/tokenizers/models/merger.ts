import type { Steps } from '../steps.js';

/** What two symbols next to each other make. */
export interface MergeRules {
  /** Number of the rule for a pair, or -1. */
  rule(left: number, right: number): number;
  /** Order of a rule; lower ones go first, equal ones from left to right. Below 2^21. */
  rank(rule: number): number;
  /** Symbol that a rule makes. */
  result(rule: number): number;
}

/** A position needs 32 bits of a key, which leaves 21 for the rank in a double. */
const RANK_UNIT = 2 ** 32;
/** Merges between two places where the work may be interrupted. */
const PIECE = 2048;
/** Longest word that is merged at one go, in memory that is used again. */
const SHORT = 1024;

/** Space for merging one word. */
class Workspace {
  readonly next: Int32Array;
  readonly previous: Int32Array;
  /** Rule of the pair that starts at each symbol, or -1. */
  readonly rules: Int32Array;
  /** Heap of rank * 2^32 + position. A pair that has changed stays in it and is passed over. */
  readonly heap: Float64Array;
  heapSize = 0;

  constructor(length: number) {
    this.next = new Int32Array(length);
    this.previous = new Int32Array(length);
    this.rules = new Int32Array(length);
    // A pair at the start for every symbol, and two for every merge.
    this.heap = new Float64Array(3 * length);
  }

  push(key: number): void {
    const { heap } = this;
    let at = this.heapSize++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if ((heap[parent] as number) <= key) break;
      heap[at] = heap[parent] as number;
      at = parent;
    }
    heap[at] = key;
  }

  pop(): number {
    const { heap } = this;
    const top = heap[0] as number;
    const size = --this.heapSize;
    const key = heap[size] as number;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && (heap[child + 1] as number) < (heap[child] as number)) child++;
      if ((heap[child] as number) >= key) break;
      heap[at] = heap[child] as number;
      at = child;
    }
    heap[at] = key;
    return top;
  }
}

/**
 * Byte pair encoding: merges neighbouring symbols in the order of the rules' ranks. O(n log n) in the
 * length of the word, whatever it consists of.
 */
export class Merger {
  readonly #rules: MergeRules;
  readonly #short = new Workspace(SHORT);

  constructor(rules: MergeRules) {
    this.#rules = rules;
  }

  /** Whether {@link merge} may be used. */
  static isShort(length: number): boolean {
    return length <= SHORT;
  }

  /**
   * Merges `symbols[0..length)` in place. Afterwards a symbol that went into one before it is -1.
   * Symbols below -1 merge with nothing and stay.
   */
  merge(symbols: Int32Array, length: number): void {
    const space = this.#short;
    this.#start(space, symbols, length, 0, length);
    while (space.heapSize > 0) this.#step(space, symbols);
  }

  /** The same for words of any length. */
  *mergeLong(symbols: Int32Array, length: number): Steps<void> {
    const space = new Workspace(length);
    for (let from = 0; from < length; from += PIECE) {
      this.#start(space, symbols, length, from, Math.min(length, from + PIECE));
      yield;
    }
    for (let count = 0; space.heapSize > 0; count++) {
      if (count % PIECE === PIECE - 1) yield;
      this.#step(space, symbols);
    }
  }

  /** Links the symbols in [from, to), and finds the rules for them. */
  #start(space: Workspace, symbols: Int32Array, length: number, from: number, to: number): void {
    if (from === 0) space.heapSize = 0;
    for (let i = from; i < to; i++) {
      space.previous[i] = i - 1;
      space.next[i] = i + 1 < length ? i + 1 : -1;
      this.#look(space, symbols, i);
    }
  }

  /** Finds the rule for the pair that starts at `at`. */
  #look(space: Workspace, symbols: Int32Array, at: number): void {
    const right = space.next[at] as number;
    const a = symbols[at] as number;
    const b = right < 0 ? -2 : (symbols[right] as number);
    const rule = a < 0 || b < 0 ? -1 : this.#rules.rule(a, b);
    space.rules[at] = rule;
    if (rule >= 0) space.push(this.#rules.rank(rule) * RANK_UNIT + at);
  }

  #step(space: Workspace, symbols: Int32Array): void {
    const key = space.pop();
    const at = key % RANK_UNIT;
    const rule = space.rules[at] as number;
    if (symbols[at] === -1 || rule < 0 || this.#rules.rank(rule) * RANK_UNIT + at !== key) return;
    const gone = space.next[at] as number;
    const after = space.next[gone] as number;
    symbols[at] = this.#rules.result(rule);
    symbols[gone] = -1;
    space.next[at] = after;
    if (after >= 0) space.previous[after] = at;
    const before = space.previous[at] as number;
    if (before >= 0) this.#look(space, symbols, before);
    this.#look(space, symbols, at);
  }
}
