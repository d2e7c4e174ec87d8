import type { EngineSession } from '../engine.js';
import { invalidArgument } from '../errors.js';
import { requireCount, requireRows } from './checks.js';
import { logSoftmax } from './float32.js';
import { MAX_LENGTH, MAX_ROWS } from './limits.js';
import { RowLogitsProcessor } from './logits-processor.js';
import { RowSequences } from './sequences.js';

const fround = Math.fround;

/** What the unconditional text of guidance starts from. */
export interface GuidanceContext {
  /** Unconditional prompts without padding, one a prompt of the batch. */
  prompts: readonly (readonly number[])[];
  /** Rows (beams or return sequences) of each prompt. */
  copies: number;
  /** Length of the batch's prompts, padding included: new tokens stand after it. */
  promptLength: number;
  signal?: AbortSignal;
}

/**
 * Classifier-free guidance (transformers `UnbatchedClassifierFreeGuidanceLogitsProcessor`): each
 * row has a second, unconditional sequence that grows by the same tokens, and the scores become
 * unconditional + guidance_scale * (conditional - unconditional), on log-probabilities.
 */
export class UnbatchedClassifierFreeGuidanceLogitsProcessor extends RowLogitsProcessor {
  private readonly sequences: RowSequences;
  private readonly prompts: readonly (readonly number[])[];
  private readonly copies: number;
  private readonly promptLength: number;
  private unconditional: (Float32Array | null)[] = [];
  private started = false;

  constructor(
    readonly guidance_scale: number,
    session: EngineSession,
    context: GuidanceContext,
  ) {
    super();
    if (typeof guidance_scale !== 'number') {
      throw invalidArgument('guidance_scale', 'a number', guidance_scale);
    }
    if (typeof session?.forward !== 'function') {
      throw invalidArgument('session', "a model's session", session);
    }
    if (!Array.isArray(context?.prompts)) {
      throw invalidArgument('context', 'prompts, copies and promptLength', context);
    }
    this.prompts = requireRows('prompts', context.prompts);
    this.copies = requireCount('copies', context.copies, 1, MAX_ROWS);
    this.promptLength = requireCount('promptLength', context.promptLength, 0, MAX_LENGTH);
    this.sequences = new RowSequences(session, context.signal);
  }

  override async prepare(input_ids: number[][], active: readonly boolean[]): Promise<void> {
    const { prompts, copies, promptLength } = this;
    if (input_ids.length !== prompts.length * copies) {
      throw invalidArgument('prompts', `one for each ${copies} of the rows`, prompts.length);
    }
    if (!this.started) {
      await this.sequences.prefill(prompts, copies);
      this.started = true;
    }
    const tokens = input_ids.map((ids, r) => {
      if (!active[r]) return null;
      const prompt = prompts[Math.floor(r / copies)] as readonly number[];
      return (ids.length === promptLength ? prompt.at(-1) : ids.at(-1)) as number;
    });
    this.unconditional = await this.sequences.step(tokens);
  }

  override reorder(parents: readonly number[]): void {
    this.sequences.reorder(parents);
  }

  processRow(_: number[], scores: Float32Array, r: number): Float32Array {
    const scale = fround(this.guidance_scale);
    const conditional = logSoftmax(scores);
    const logits = this.unconditional[r];
    if (logits == null) return conditional;
    const base = logSoftmax(logits);
    return conditional.map(
      (x, id) => fround(scale * fround(x - (base[id] as number))) + (base[id] as number),
    );
  }
}
