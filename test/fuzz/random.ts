/** A small deterministic generator (mulberry32): a seed and a number of inputs name a finding. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** An integer in [0, n); 0 where n is 0. */
  below(n: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * n);
  }

  /** One of `list`, which is not empty. */
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  /** True with probability `p`. */
  chance(p: number): boolean {
    return this.below(1e6) < p * 1e6;
  }
}

const INTERESTING = [0, 1, 0x22, 0x28, 0x2c, 0x52, 0x5d, 0x63, 0x7d, 0x7f, 0x80, 0xc0, 0xff];

/** Damage without knowledge of the format: cut, removed, doubled, moved or changed bytes. */
export function damage(input: Uint8Array, random: Random): Uint8Array {
  const bytes = Buffer.from(input);
  if (bytes.length === 0) return Buffer.from([random.below(256)]);
  const at = random.below(bytes.length);
  const length = 1 + random.below(Math.min(40, bytes.length - at));
  switch (random.below(6)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 2:
      return Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
    case 3:
      bytes.copy(bytes, random.below(bytes.length), at, at + length);
      return bytes;
    default:
      for (let i = random.below(4); i >= 0; i--) {
        bytes[random.below(bytes.length)] = random.chance(0.5)
          ? random.below(256)
          : random.pick(INTERESTING);
      }
      return bytes;
  }
}
