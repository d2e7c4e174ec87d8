/** Draws without replacement from many weights, in time that grows with the draws and not the weights. */

/** Weights summed directly; above these stands a binary tree. */
const BLOCK = 256;

/**
 * Weights, and the float64 sums of ever larger parts of them. A draw goes down the tree and changes
 * the sums on its way, each of them summed anew, so that no error builds up.
 */
export class WeightTree {
  private readonly leaves: number;
  /** A binary heap: node i has the children 2i and 2i + 1; the blocks' sums are its leaves. */
  private readonly sums: Float64Array;

  /** @param weights >= 0; the tree sets what it draws to 0. */
  constructor(private readonly weights: Float32Array) {
    this.leaves = 2 ** Math.ceil(Math.log2(Math.max(1, Math.ceil(weights.length / BLOCK))));
    this.sums = new Float64Array(2 * this.leaves);
    for (let block = 0; block * BLOCK < weights.length; block++) {
      this.sums[this.leaves + block] = this.sumOf(block);
    }
    for (let node = this.leaves - 1; node > 0; node--) this.add(node);
  }

  /**
   * Draws an index with probability weight / sum of weights and takes it out.
   *
   * @param u in [0, 1): chooses the first index whose running sum exceeds `u` times the sum.
   * @returns -1 where all weights are 0.
   */
  draw(u: number): number {
    let node = 1;
    let target = u * (this.sums[node] as number);
    if (!((this.sums[node] as number) > 0)) return -1;
    while (node < this.leaves) {
      node *= 2;
      const left = this.sums[node] as number;
      // Rounding must not lead where there is nothing.
      if (target < left || !((this.sums[node + 1] as number) > 0)) continue;
      target -= left;
      node++;
    }
    const block = node - this.leaves;
    const index = this.find(block, target);
    this.weights[index] = 0;
    this.sums[node] = this.sumOf(block);
    for (node >>= 1; node > 0; node >>= 1) this.add(node);
    return index;
  }

  private add(node: number): void {
    this.sums[node] = (this.sums[2 * node] as number) + (this.sums[2 * node + 1] as number);
  }

  private sumOf(block: number): number {
    const end = Math.min((block + 1) * BLOCK, this.weights.length);
    let sum = 0;
    for (let i = block * BLOCK; i < end; i++) sum += this.weights[i] as number;
    return sum;
  }

  /** First index of a block whose running sum exceeds `target`, else the last with a weight. */
  private find(block: number, target: number): number {
    const end = Math.min((block + 1) * BLOCK, this.weights.length);
    let sum = 0;
    let last = block * BLOCK;
    for (let i = block * BLOCK; i < end; i++) {
      const w = this.weights[i] as number;
      if (w > 0) last = i;
      sum += w;
      if (sum > target) return i;
    }
    return last;
  }
}
