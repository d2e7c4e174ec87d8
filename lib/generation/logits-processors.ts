/**
 * The processors that constrain or penalise tokens, under transformers' class names and with its
 * float32 arithmetic. They run in greedy decoding, sampling and beam search alike.
 *
 * `eos_token_id` is one id or a list everywhere. `padding` (an addition of this library) is the
 * number of left-padding tokens of each row, which content-based processors skip, so that a row
 * in a padded batch is treated as it would be alone.
 */

import { InvalidArgumentError } from '../errors.js';
import { FLOAT32_MAX } from './float32.js';
import { LogitsProcessor } from './logits-processor.js';

const fround = Math.fround;
const NEGATIVE_INFINITY = Number.NEGATIVE_INFINITY;

/** One id or a list of them, as a list. */
function toIdList(ids: number | readonly number[]): readonly number[] {
  return typeof ids === 'number' ? [ids] : ids;
}

function checkEos(ids: readonly number[]): readonly number[] {
  if (ids.some((id) => !Number.isInteger(id) || id < 0)) {
    throw new InvalidArgumentError(
      `\`eos_token_id\` has to be a list of positive integers, but is [${ids.join(', ')}]`,
      { subject: 'eos_token_id' },
    );
  }
  return ids;
}

/** A copy of each row with the given tokens made impossible. */
function suppress(scores: Float32Array[], ids: Iterable<number>): Float32Array[] {
  return scores.map((row) => {
    const out = row.slice();
    for (const id of ids) if (id < out.length) out[id] = NEGATIVE_INFINITY;
    return out;
  });
}

/** Rows in which only the given tokens are possible. */
function force(scores: Float32Array[], ids: readonly number[]): Float32Array[] {
  return scores.map((row) => {
    const out = new Float32Array(row.length).fill(NEGATIVE_INFINITY);
    for (const id of ids) out[id] = 0;
    return out;
  });
}

/** No end of sequence before `min_length` tokens, prompt included. */
export class MinLengthLogitsProcessor extends LogitsProcessor {
  readonly min_length: number;
  readonly eos_token_id: readonly number[];

  constructor(min_length: number, eos_token_id: number | readonly number[]) {
    super();
    if (!Number.isInteger(min_length) || min_length < 0) {
      throw new InvalidArgumentError(
        `\`min_length\` has to be a non-negative integer, but is ${min_length}`,
        { subject: 'min_length' },
      );
    }
    this.min_length = min_length;
    this.eos_token_id = toIdList(eos_token_id);
  }

  _call(input_ids: number[][], scores: Float32Array[]): Float32Array[] {
    const length = input_ids[0]?.length ?? 0;
    return length < this.min_length ? suppress(scores, this.eos_token_id) : scores;
  }
}

/** No end of sequence before `min_new_tokens` tokens after the prompt. */
export class MinNewTokensLengthLogitsProcessor extends LogitsProcessor {
  readonly prompt_length_to_skip: number;
  readonly min_new_tokens: number;
  readonly eos_token_id: readonly number[];

  constructor(
    prompt_length_to_skip: number,
    min_new_tokens: number,
    eos_token_id: number | readonly number[],
  ) {
    super();
    for (const [name, value] of Object.entries({ prompt_length_to_skip, min_new_tokens })) {
      if (!Number.isInteger(value) || value < 0) {
        throw new InvalidArgumentError(
          `\`${name}\` has to be a positive integer, but is ${value}`,
          { subject: name },
        );
      }
    }
    this.prompt_length_to_skip = prompt_length_to_skip;
    this.min_new_tokens = min_new_tokens;
    this.eos_token_id = toIdList(eos_token_id);
  }

  _call(input_ids: number[][], scores: Float32Array[]): Float32Array[] {
    const newTokens = (input_ids[0]?.length ?? 0) - this.prompt_length_to_skip;
    return newTokens < this.min_new_tokens ? suppress(scores, this.eos_token_id) : scores;
  }
}

/** Penalises the given tokens once each: score < 0 ? score * penalty : score / penalty. */
function penalize(row: Float32Array, ids: Iterable<number>, penalty: number): Float32Array {
  const out = row.slice();
  for (const id of ids) {
    const score = row[id];
    if (score !== undefined) out[id] = score < 0 ? score * penalty : score / penalty;
  }
  return out;
}

function checkPenalty(penalty: number): number {
  if (typeof penalty !== 'number' || !(penalty > 0)) {
    throw new InvalidArgumentError(
      `\`penalty\` has to be a strictly positive float, but is ${penalty}`,
      { subject: 'penalty' },
    );
  }
  return penalty;
}

/** Penalises every token that has occurred, once, however often it occurred. Prompt included. */
export class RepetitionPenaltyLogitsProcessor extends LogitsProcessor {
  readonly penalty: number;
  readonly prompt_ignore_length: number | null;
  readonly padding: readonly number[] | null;

  /**
   * @param penalty > 0; above 1 discourages repetition, below 1 encourages it.
   * @param prompt_ignore_length this many tokens at the start do not count.
   */
  constructor(
    penalty: number,
    prompt_ignore_length: number | null = null,
    padding: readonly number[] | null = null,
  ) {
    super();
    this.penalty = checkPenalty(penalty);
    if (
      prompt_ignore_length !== null &&
      (!Number.isInteger(prompt_ignore_length) || prompt_ignore_length < 0)
    ) {
      throw new InvalidArgumentError(
        `\`prompt_ignore_length\` has to be a positive integer, but is ${prompt_ignore_length}`,
      );
    }
    this.prompt_ignore_length = prompt_ignore_length;
    this.padding = padding;
  }

  _call(input_ids: number[][], scores: Float32Array[]): Float32Array[] {
    const penalty = fround(this.penalty);
    return scores.map((row, r) => {
      const start = Math.max(this.prompt_ignore_length ?? 0, this.padding?.[r] ?? 0);
      return penalize(row, (input_ids[r] as number[]).slice(start), penalty);
    });
  }
}

/** Encourages tokens of the prompt: the repetition penalty's formula with 1 / penalty. */
export class EncoderRepetitionPenaltyLogitsProcessor extends LogitsProcessor {
  readonly penalty: number;
  readonly encoder_input_ids: readonly (readonly number[])[];

  /** @param encoder_input_ids the prompts without padding, one a row of the scores. */
  constructor(penalty: number, encoder_input_ids: readonly (readonly number[])[]) {
    super();
    this.penalty = 1 / checkPenalty(penalty);
    this.encoder_input_ids = encoder_input_ids;
  }

  _call(_: number[][], scores: Float32Array[]): Float32Array[] {
    const penalty = fround(this.penalty);
    const beams = Math.max(1, Math.floor(scores.length / this.encoder_input_ids.length));
    return scores.map((row, r) =>
      penalize(row, this.encoder_input_ids[Math.floor(r / beams)] ?? [], penalty),
    );
  }
}

/** Forbids every token that would complete an n-gram that has already occurred. */
export class NoRepeatNGramLogitsProcessor extends LogitsProcessor {
  readonly ngram_size: number;
  readonly padding: readonly number[] | null;

  constructor(ngram_size: number, padding: readonly number[] | null = null) {
    super();
    if (!Number.isInteger(ngram_size) || ngram_size <= 0) {
      throw new InvalidArgumentError(
        `\`ngram_size\` has to be a strictly positive integer, but is ${ngram_size}`,
        { subject: 'no_repeat_ngram_size' },
      );
    }
    this.ngram_size = ngram_size;
    this.padding = padding;
  }

  _call(input_ids: number[][], scores: Float32Array[]): Float32Array[] {
    const prefixLength = this.ngram_size - 1;
    return scores.map((row, r) => {
      const ids = input_ids[r] as number[];
      const prefix = ids.length - prefixLength;
      const out = row.slice();
      for (let i = this.padding?.[r] ?? 0; i + this.ngram_size <= ids.length; i++) {
        let same = true;
        for (let j = 0; same && j < prefixLength; j++) same = ids[i + j] === ids[prefix + j];
        const last = ids[i + prefixLength] as number;
        if (same && last < out.length) out[last] = NEGATIVE_INFINITY;
      }
      return out;
    });
  }
}

/** Token sequences and what is added to the score of their last token after the others. */
export type SequenceBias = readonly (readonly [readonly number[], number])[];

/** Adds a bias to tokens, or to the last token of sequences once the others stand before it. */
export class SequenceBiasLogitsProcessor extends LogitsProcessor {
  readonly sequence_bias: SequenceBias;
  private checkedVocabulary = 0;

  /** @param sequence_bias for instance `[[[7], 2.5], [[8, 9], -3.0]]`. */
  constructor(sequence_bias: SequenceBias) {
    super();
    this.sequence_bias = this.validated(sequence_bias);
  }

  protected validated(sequence_bias: SequenceBias): SequenceBias {
    const shown = JSON.stringify(sequence_bias);
    if (!Array.isArray(sequence_bias) || sequence_bias.length === 0) {
      throw new InvalidArgumentError(
        '`sequence_bias` has to be a non-empty dictionary, or non-empty list of lists but is ' +
          `${shown}.`,
        { subject: 'sequence_bias' },
      );
    }
    const valid = (entry: unknown): boolean =>
      Array.isArray(entry) &&
      Array.isArray(entry[0]) &&
      entry[0].length > 0 &&
      entry[0].every((id) => Number.isInteger(id) && id >= 0) &&
      typeof entry[1] === 'number';
    if (!sequence_bias.every(valid)) {
      throw new InvalidArgumentError(
        'Each element in `sequence_bias` has to be a non-empty list of lists of positive ' +
          `integers and float, but is ${shown}.`,
        { subject: 'sequence_bias' },
      );
    }
    // A sequence given twice has the bias given last, as in a dictionary.
    return [...new Map(sequence_bias.map((entry) => [entry[0].join(), entry])).values()];
  }

  _call(input_ids: number[][], scores: Float32Array[]): Float32Array[] {
    this.checkVocabulary(scores[0]?.length ?? 0);
    return scores.map((row, r) => {
      const ids = input_ids[r] as number[];
      const bias = new Float32Array(row.length);
      for (const [sequence, value] of this.sequence_bias) {
        const last = sequence.length - 1;
        const start = ids.length - last;
        if (start < 0) continue;
        let same = true;
        for (let j = 0; same && j < last; j++) same = ids[start + j] === sequence[j];
        if (same) bias[sequence[last] as number] = (bias[sequence[last] as number] ?? 0) + value;
      }
      return row.map((x, id) => x + (bias[id] as number));
    });
  }

  private checkVocabulary(size: number): void {
    if (this.checkedVocabulary === size) return;
    const invalid = this.sequence_bias.flatMap(([ids]) => ids.filter((id) => id >= size));
    if (invalid.length > 0) {
      throw new InvalidArgumentError(
        `The model vocabulary size is ${size}, but the following tokens were being biased: ` +
          `[${invalid.join(', ')}]`,
        { subject: this.constructor.name },
      );
    }
    this.checkedVocabulary = size;
  }
}

/** Forbids token sequences. Entries that are exactly an end-of-sequence token are dropped. */
export class NoBadWordsLogitsProcessor extends SequenceBiasLogitsProcessor {
  constructor(
    bad_words_ids: readonly (readonly number[])[],
    eos_token_id: number | readonly number[] | null = null,
  ) {
    const shown = JSON.stringify(bad_words_ids);
    const fail = (text: string): never => {
      throw new InvalidArgumentError(`${text}, but is ${shown}.`, { subject: 'bad_words_ids' });
    };
    if (!Array.isArray(bad_words_ids) || bad_words_ids.length === 0) {
      fail('`bad_words_ids` has to be a non-empty list');
    }
    if (bad_words_ids.some((ids) => !Array.isArray(ids) || ids.length === 0)) {
      fail('`bad_words_ids` has to be a list of lists');
    }
    if (bad_words_ids.some((ids) => ids.some((id) => !Number.isInteger(id) || id < 0))) {
      fail('Each list in `bad_words_ids` has to be a list of positive integers');
    }
    const eos = eos_token_id === null ? [] : toIdList(eos_token_id);
    super(
      bad_words_ids
        .filter((ids) => !(ids.length === 1 && eos.includes(ids[0] as number)))
        .map((ids) => [ids, NEGATIVE_INFINITY] as const),
    );
  }

  /** Nothing may be left to forbid, once the end-of-sequence entries are dropped. */
  protected override validated(sequence_bias: SequenceBias): SequenceBias {
    return sequence_bias;
  }
}

/** Allows only the tokens that a function names for the row. */
export class PrefixConstrainedLogitsProcessor extends LogitsProcessor {
  constructor(
    private readonly prefix_allowed_tokens_fn: PrefixAllowedTokens,
    private readonly num_beams: number,
  ) {
    super();
  }

  _call(input_ids: number[][], scores: Float32Array[]): Float32Array[] {
    return scores.map((row, r) => {
      const batch = Math.floor(r / this.num_beams);
      const allowed = this.prefix_allowed_tokens_fn(batch, input_ids[r] as number[]);
      if (allowed.length === 0) {
        throw new InvalidArgumentError(
          '`prefix_allowed_tokens_fn` returned an empty list for batch ID ' +
            `${batch}. This means that the constraint is unsatisfiable. Please check your ` +
            'implementation of `prefix_allowed_tokens_fn`',
        );
      }
      const out = new Float32Array(row.length).fill(NEGATIVE_INFINITY);
      for (const id of allowed) out[id] = row[id] as number;
      return out;
    });
  }
}

/** The ids that may follow; `batch_id` is the prompt's index in the batch. */
export type PrefixAllowedTokens = (batch_id: number, input_ids: number[]) => readonly number[];

/** Forces a token to be the first, where the prompt is a single token. */
export class ForcedBOSTokenLogitsProcessor extends LogitsProcessor {
  constructor(readonly bos_token_id: number) {
    super();
  }

  _call(input_ids: number[][], scores: Float32Array[]): Float32Array[] {
    return input_ids[0]?.length === 1 ? force(scores, [this.bos_token_id]) : scores;
  }
}

/** Forces a token (or one of several) to be the last when `max_length` is reached. */
export class ForcedEOSTokenLogitsProcessor extends LogitsProcessor {
  readonly eos_token_id: readonly number[];

  constructor(
    readonly max_length: number,
    eos_token_id: number | readonly number[],
  ) {
    super();
    this.eos_token_id = checkEos(toIdList(eos_token_id));
  }

  _call(input_ids: number[][], scores: Float32Array[]): Float32Array[] {
    return input_ids[0]?.length === this.max_length - 1 ? force(scores, this.eos_token_id) : scores;
  }
}

/** Replaces NaN by 0 and infinities by the largest finite values. */
export class InfNanRemoveLogitsProcessor extends LogitsProcessor {
  _call(_: number[][], scores: Float32Array[]): Float32Array[] {
    return scores.map((row) =>
      row.map((x) => (Number.isNaN(x) ? 0 : Math.min(Math.max(x, -FLOAT32_MAX), FLOAT32_MAX))),
    );
  }
}

/** Raises the end-of-sequence score exponentially after a number of new tokens. */
export class ExponentialDecayLengthPenalty extends LogitsProcessor {
  readonly regulation_start: number;
  readonly regulation_factor: number;
  readonly eos_token_id: readonly number[];

  /**
   * @param exponential_decay_length_penalty [start, factor]: beyond `start` new tokens the score
   *   grows by |score| * (factor^tokens beyond - 1).
   * @param input_ids_seq_length length of the prompt.
   */
  constructor(
    exponential_decay_length_penalty: readonly [number, number],
    eos_token_id: number | readonly number[],
    input_ids_seq_length: number,
  ) {
    super();
    this.regulation_start = exponential_decay_length_penalty[0] + input_ids_seq_length;
    this.regulation_factor = exponential_decay_length_penalty[1];
    this.eos_token_id = checkEos(toIdList(eos_token_id));
  }

  _call(input_ids: number[][], scores: Float32Array[]): Float32Array[] {
    const beyond = (input_ids[0]?.length ?? 0) - this.regulation_start;
    if (beyond <= 0) return scores;
    const factor = fround(this.regulation_factor ** beyond - 1);
    return scores.map((row) => {
      const out = row.slice();
      for (const id of this.eos_token_id) {
        const score = row[id];
        if (score !== undefined) out[id] = score + fround(Math.abs(score) * factor);
      }
      return out;
    });
  }
}

/** Forbids tokens as the first new token. */
export class SuppressTokensAtBeginLogitsProcessor extends LogitsProcessor {
  /** @param begin_index the length at which the first new token is chosen. */
  constructor(
    readonly begin_suppress_tokens: readonly number[],
    readonly begin_index: number,
  ) {
    super();
  }

  _call(input_ids: number[][], scores: Float32Array[]): Float32Array[] {
    return input_ids[0]?.length === this.begin_index
      ? suppress(scores, this.begin_suppress_tokens)
      : scores;
  }
}

/** Forbids tokens. */
export class SuppressTokensLogitsProcessor extends LogitsProcessor {
  constructor(readonly suppress_tokens: readonly number[]) {
    super();
  }

  _call(_: number[][], scores: Float32Array[]): Float32Array[] {
    return suppress(scores, this.suppress_tokens);
  }
}
