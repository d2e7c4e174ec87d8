/** A map from pairs of non-negative int32 to int32, in typed arrays with open addressing. */
export class PairTable {
  #keys: Int32Array;
  #values: Int32Array;
  #mask: number;
  #size = 0;

  /** @param expected number of pairs, to begin with. */
  constructor(expected = 0) {
    let capacity = 64;
    while (capacity < expected * 2) capacity *= 2;
    this.#keys = new Int32Array(capacity * 2).fill(-1);
    this.#values = new Int32Array(capacity);
    this.#mask = capacity - 1;
  }

  get size(): number {
    return this.#size;
  }

  /** Value of the pair, or -1. */
  get(a: number, b: number): number {
    const keys = this.#keys;
    for (let at = hash(a, b) & this.#mask; ; at = (at + 1) & this.#mask) {
      const key = keys[2 * at] as number;
      if (key === -1) return -1;
      if (key === a && keys[2 * at + 1] === b) return this.#values[at] as number;
    }
  }

  set(a: number, b: number, value: number): void {
    if (this.#size * 2 > this.#mask) this.#grow();
    const keys = this.#keys;
    let at = hash(a, b) & this.#mask;
    while (keys[2 * at] !== -1 && (keys[2 * at] !== a || keys[2 * at + 1] !== b)) {
      at = (at + 1) & this.#mask;
    }
    if (keys[2 * at] === -1) this.#size++;
    keys[2 * at] = a;
    keys[2 * at + 1] = b;
    this.#values[at] = value;
  }

  #grow(): void {
    const keys = this.#keys;
    const values = this.#values;
    const larger = new PairTable(values.length);
    for (let at = 0; at < values.length; at++) {
      const a = keys[2 * at] as number;
      if (a >= 0) larger.set(a, keys[2 * at + 1] as number, values[at] as number);
    }
    this.#keys = larger.#keys;
    this.#values = larger.#values;
    this.#mask = larger.#mask;
  }
}

function hash(a: number, b: number): number {
  let h = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b);
  h ^= h >>> 15;
  h = Math.imul(h, 0x2c1b3c6d);
  return h ^ (h >>> 13);
}
