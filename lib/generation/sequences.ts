import type { EngineSession } from '../engine.js';

/** Prompts that are the same, by their text form. */
const keyOf = (prompt: readonly number[]): string => prompt.join();

/**
 * The engine's sequences behind the rows of a batch. Rows with the same past share one sequence
 * until one of them goes on; then the others get forks, which share its cache.
 */
export class RowSequences {
  /** One handle a row; -1 for rows that were released. */
  private handles: number[] = [];
  /** How many rows share each handle. */
  private uses = new Map<number, number>();

  constructor(
    private readonly session: EngineSession,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /**
   * Runs every prompt but its last token, each distinct prompt once.
   *
   * @param copies rows of each prompt.
   */
  async prefill(prompts: readonly (readonly number[])[], copies: number): Promise<void> {
    const { session, signal } = this;
    const distinct = new Map<string, { sequence: number; tokens: readonly number[] }>();
    this.handles = prompts.flatMap((prompt) => {
      const key = keyOf(prompt);
      const entry = distinct.get(key) ?? {
        sequence: session.create(),
        tokens: prompt.slice(0, -1),
      };
      distinct.set(key, entry);
      return new Array<number>(copies).fill(entry.sequence);
    });
    this.count();
    const rows = [...distinct.values()].filter(({ tokens }) => tokens.length > 0);
    if (rows.length > 0) {
      await session.forward(
        rows.map((row) => ({ ...row, logits: 'none' as const })),
        { signal },
      );
    }
  }

  /** Gives each of these rows a sequence of its own. */
  own(rows: readonly number[]): readonly number[] {
    const taken = new Set<number>();
    for (const r of rows) {
      const handle = this.handles[r] as number;
      if (taken.has(handle)) {
        this.handles[r] = this.session.fork(handle);
        this.uses.set(this.handles[r] as number, 1);
        this.uses.set(handle, (this.uses.get(handle) as number) - 1);
      } else taken.add(handle);
    }
    return rows.map((r) => this.handles[r] as number);
  }

  /**
   * Appends one token to each row and gives the logits after it.
   *
   * @param tokens null for rows that stand still.
   * @returns float32 [vocab_size] a row, null where the row stood still.
   */
  async step(tokens: readonly (number | null)[]): Promise<(Float32Array | null)[]> {
    const rows = tokens.flatMap((token, r) => (token === null ? [] : [r]));
    const sequences = this.own(rows);
    const { logits } = await this.session.forward(
      rows.map((r, i) => ({
        sequence: sequences[i] as number,
        tokens: [tokens[r] as number],
        logits: 'last' as const,
      })),
      { signal: this.signal },
    );
    const size = this.session.vocab_size;
    const out = new Array<Float32Array | null>(tokens.length).fill(null);
    rows.forEach((r, i) => {
      out[r] = logits.subarray(i * size, (i + 1) * size);
    });
    return out;
  }

  /** Row i goes on from what was row `parents[i]`; sequences nobody goes on from are released. */
  reorder(parents: readonly number[]): void {
    const before = this.uses;
    this.handles = parents.map((p) => this.handles[p] as number);
    this.count();
    for (const handle of before.keys()) if (!this.uses.has(handle)) this.session.release(handle);
  }

  /** Gives a finished row's cache back, unless another row shares it. */
  release(row: number): void {
    const handle = this.handles[row] as number;
    if (handle < 0) return;
    this.handles[row] = -1;
    const left = (this.uses.get(handle) as number) - 1;
    this.uses.set(handle, left);
    if (left > 0) return;
    this.uses.delete(handle);
    this.session.release(handle);
  }

  private count(): void {
    this.uses = new Map();
    for (const handle of this.handles) {
      if (handle >= 0) this.uses.set(handle, (this.uses.get(handle) ?? 0) + 1);
    }
  }
}
