import { InvalidArgumentError, invalidArgument } from '../errors.js';
import { Tensor, type TensorType } from '../tensor.js';
import { logSoftmax, topK } from './float32.js';

/** A token with its log-probability. */
export interface TokenLogprob {
  token_id: number;
  /** Natural logarithm of the probability. */
  logprob: number;
}

/** A chosen token, and the most probable ones at its place. */
export interface ChosenTokenLogprob extends TokenLogprob {
  /** The `output_logprobs` most probable tokens, best first. */
  top: TokenLogprob[];
}

/** How prompt-lookup decoding went. */
export interface PromptLookupStatistics {
  /** Runs of the model after the prompt's. */
  steps: number;
  /** Tokens proposed from the text so far. */
  proposed: number;
  /** Proposed tokens that were right. */
  accepted: number;
}

/**
 * What generate gives with `return_dict_in_generate` (transformers `GenerateDecoderOnlyOutput`,
 * and `GenerateBeamDecoderOnlyOutput` under beam search). What was not asked for is null.
 */
export interface GenerateOutput {
  /** int64 [rows, length]: prompts and answers, padded; rows are prompts * num_return_sequences. */
  sequences: Tensor;
  /** Processed scores, one float32 [rows, vocab_size] a step; rows are beams under beam search. */
  scores: Tensor[] | null;
  /** The model's logits, shaped as `scores`. */
  logits: Tensor[] | null;
  /** float32 [rows]: length-normalised scores of the sequences; beam search with output_scores. */
  sequences_scores: Tensor | null;
  /** int32 [rows, new tokens]: the beam each token came from, -1 after the end; beam search. */
  beam_indices: Tensor | null;
  /** By row and new token, up to the row's end; with `output_logprobs`. */
  logprobs: ChosenTokenLogprob[][] | null;
  /** With `prompt_lookup_num_tokens`. */
  prompt_lookup: PromptLookupStatistics | null;
}

/** A {@link GenerateOutput} in which all but the sequences is null. */
export function plainOutput(rows: readonly (readonly number[])[]): GenerateOutput {
  return {
    sequences: Tensor.fromRows(rows),
    scores: null,
    logits: null,
    sequences_scores: null,
    beam_indices: null,
    logprobs: null,
    prompt_lookup: null,
  };
}

/** Rows of a step as one float32 tensor [rows, vocab_size]; a copy. */
export function stackRows(rows: readonly Float32Array[]): Tensor {
  const width = rows[0]?.length ?? 0;
  const data = new Float32Array(rows.length * width);
  rows.forEach((row, r) => {
    data.set(row, r * width);
  });
  return new Tensor('float32', data, [rows.length, width]);
}

/** Log-probabilities of a chosen token and the best `k` under the distribution of its scores. */
export function chosenLogprob(
  scores: Float32Array,
  token_id: number,
  k: number,
): ChosenTokenLogprob {
  const logs = logSoftmax(scores);
  const entry = (id: number): TokenLogprob => ({ token_id: id, logprob: logs[id] as number });
  return { ...entry(token_id), top: topK(logs, k).map(entry) };
}

function requireMatrix(name: string, value: unknown, type?: TensorType): void {
  const isMatrix = value instanceof Tensor && value.dims.length === 2;
  if (isMatrix && (type === undefined || value.type === type)) return;
  throw invalidArgument(name, `a ${type ?? ''} Tensor [rows, length]`.replace('  ', ' '), value);
}

/**
 * The scores of the generated tokens (transformers `compute_transition_scores`).
 *
 * @param sequences int64 [rows, length], as generate gave them.
 * @param scores one [rows or beams, vocab_size] a step, as generate gave them.
 * @param beam_indices as beam search gave them; null otherwise.
 * @param normalize_logits turn each step's scores into log-probabilities first.
 * @returns float32 [rows, new tokens]; 0 after the end of a beam that ended early.
 */
export function compute_transition_scores(
  sequences: Tensor,
  scores: readonly Tensor[],
  beam_indices: Tensor | null = null,
  normalize_logits = false,
): Tensor {
  if (beam_indices !== null && !(beam_indices instanceof Tensor)) {
    throw invalidArgument('beam_indices', 'a Tensor or null', beam_indices);
  }
  requireMatrix('sequences', sequences);
  if (beam_indices !== null) requireMatrix('beam_indices', beam_indices);
  if (!Array.isArray(scores)) throw invalidArgument('scores', 'a list of Tensors', scores);
  const [rows, length] = sequences.dims as [number, number];
  const first: Tensor | undefined = scores[0];
  if (first === undefined) {
    throw new InvalidArgumentError('compute_transition_scores needs the scores', {
      subject: 'scores',
      remedy: 'Generate with `return_dict_in_generate: true` and `output_scores: true`',
    });
  }
  for (const step of scores) requireMatrix('scores', step, 'float32');
  const vocab = first.dims[1] as number;
  const other = scores.find(({ dims }: Tensor) => dims[1] !== vocab);
  if (other !== undefined) {
    throw invalidArgument('scores', `steps of ${vocab} scores a row, as the first`, other.dims[1]);
  }
  // Nothing to look up, however many rows there are of it.
  if (vocab === 0 || sequences.size === 0) {
    throw new InvalidArgumentError('There are no tokens whose scores could be looked up', {
      subject: vocab === 0 ? 'scores' : 'sequences',
      expected: 'at least one element',
      found: `a Tensor [${(vocab === 0 ? first : sequences).dims.join(', ')}]`,
      remedy: 'Pass the sequences and the scores of one output of generate.',
    });
  }
  if (beam_indices !== null && beam_indices.dims[0] !== rows) {
    throw invalidArgument('beam_indices', `${rows} rows, as sequences has`, beam_indices.dims[0]);
  }
  const steps = scores.map(({ data }: Tensor) => {
    if (!normalize_logits) return data as Float32Array;
    const out = new Float32Array(data.length);
    for (let start = 0; start < data.length; start += vocab) {
      out.set(logSoftmax(data.subarray(start, start + vocab) as Float32Array), start);
    }
    return out;
  });
  const beamAt = (row: number, step: number): number => {
    if (beam_indices === null) return row;
    const width = beam_indices.dims[1] as number;
    return step < width ? Number(beam_indices.data[row * width + step]) : -1;
  };
  // As many steps as the longest beam has.
  let generated = steps.length;
  if (beam_indices !== null) {
    generated = 0;
    for (let row = 0; row < rows; row++) {
      let n = 0;
      for (let step = 0; step < (beam_indices.dims[1] as number); step++) {
        if (beamAt(row, step) >= 0) n++;
      }
      generated = Math.max(generated, n);
    }
  }
  if (generated > length) {
    throw invalidArgument('sequences', `rows of at least ${generated} tokens`, length);
  }
  const out = new Float32Array(rows * generated);
  for (let row = 0; row < rows; row++) {
    for (let step = 0; step < generated; step++) {
      const beam = beamAt(row, step);
      if (beam < 0) continue;
      const token = Number(sequences.data[row * length + length - generated + step]);
      out[row * generated + step] = steps[step]?.[beam * vocab + token] as number;
    }
  }
  return new Tensor('float32', out, [rows, generated]);
}
