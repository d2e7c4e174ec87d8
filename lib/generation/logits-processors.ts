/**
 * The processors that constrain or penalise tokens, under transformers' class names and with its
 * float32 arithmetic. They run in greedy decoding, sampling and beam search alike.
 *
 * `eos_token_id` is one id or a list everywhere. `padding` (an addition of this library) is the
 * number of left-padding tokens of each row, which content-based processors skip, so that a row
 * in a padded batch is treated as it would be alone.
 */

import { InvalidArgumentError, invalidArgument, show } from '../errors.js';
import { isListOf } from '../list-of.js';
import {
  checkRows,
  isTokenId,
  requireCount,
  requireIds,
  requirePadding,
  requireRows,
} from './checks.js';
import { FLOAT32_MAX } from './float32.js';
import {
  checkLimit,
  listError,
  MAX_EOS_TOKENS,
  MAX_LENGTH,
  MAX_LISTED_TOKENS,
  MAX_ROWS,
  MAX_TOKEN_ID,
} from './limits.js';
import { LogitsProcessor, RowLogitsProcessor } from './logits-processor.js';

const fround = Math.fround;
const NEGATIVE_INFINITY = Number.NEGATIVE_INFINITY;

function checkEos(ids: number | readonly number[]): readonly number[] {
  const list = typeof ids === 'number' ? [ids] : ids;
  if (Array.isArray(list)) checkLimit('eos_token_id', list.length, MAX_EOS_TOKENS, 'tokens');
  if (!isListOf(list, isTokenId)) {
    throw new InvalidArgumentError(
      `\`eos_token_id\` has to be a list of positive integers, but is ${show(list)}`,
      { subject: 'eos_token_id' },
    );
  }
  return requireIds('eos_token_id', list, MAX_EOS_TOKENS);
}

/** A copy of a row with the given tokens made impossible. */
function suppress(scores: Float32Array, ids: Iterable<number>): Float32Array {
  const out = scores.slice();
  for (const id of ids) if (id < out.length) out[id] = NEGATIVE_INFINITY;
  return out;
}

/** A row in which only the given tokens are possible. */
function force(scores: Float32Array, ids: readonly number[]): Float32Array {
  const unknown = ids.find((id) => id >= scores.length);
  if (unknown !== undefined) {
    throw invalidArgument('a forced token', `an id below ${scores.length}`, unknown);
  }
  const out = new Float32Array(scores.length).fill(NEGATIVE_INFINITY);
  for (const id of ids) out[id] = 0;
  return out;
}

/** No end of sequence before `min_length` tokens, prompt included. */
export class MinLengthLogitsProcessor extends RowLogitsProcessor {
  readonly min_length: number;
  readonly eos_token_id: readonly number[];

  constructor(min_length: number, eos_token_id: number | readonly number[]) {
    super();
    if (!Number.isInteger(min_length) || min_length < 0) {
      throw new InvalidArgumentError(
        `\`min_length\` has to be a non-negative integer, but is ${show(min_length)}`,
        { subject: 'min_length' },
      );
    }
    this.min_length = min_length;
    this.eos_token_id = requireIds('eos_token_id', eos_token_id, MAX_EOS_TOKENS);
  }

  processRow(ids: number[], scores: Float32Array): Float32Array {
    return ids.length < this.min_length ? suppress(scores, this.eos_token_id) : scores;
  }
}

/** No end of sequence before `min_new_tokens` tokens after the prompt. */
export class MinNewTokensLengthLogitsProcessor extends RowLogitsProcessor {
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
          `\`${name}\` has to be a positive integer, but is ${show(value)}`,
          { subject: name },
        );
      }
    }
    this.prompt_length_to_skip = prompt_length_to_skip;
    this.min_new_tokens = min_new_tokens;
    this.eos_token_id = requireIds('eos_token_id', eos_token_id, MAX_EOS_TOKENS);
  }

  processRow(ids: number[], scores: Float32Array): Float32Array {
    const newTokens = ids.length - this.prompt_length_to_skip;
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
      `\`penalty\` has to be a strictly positive float, but is ${show(penalty)}`,
      { subject: 'penalty' },
    );
  }
  return penalty;
}

/** Penalises every token that has occurred, once, however often it occurred. Prompt included. */
export class RepetitionPenaltyLogitsProcessor extends RowLogitsProcessor {
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
        `\`prompt_ignore_length\` has to be a positive integer, but is ${show(prompt_ignore_length)}`,
      );
    }
    this.prompt_ignore_length = prompt_ignore_length;
    this.padding = requirePadding(padding);
  }

  processRow(ids: number[], scores: Float32Array, r: number): Float32Array {
    const start = Math.max(this.prompt_ignore_length ?? 0, this.padding?.[r] ?? 0);
    return penalize(scores, ids.slice(start), fround(this.penalty));
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
    this.encoder_input_ids = requireRows('encoder_input_ids', encoder_input_ids);
  }

  _call(input_ids: number[][], scores: Float32Array[]): Float32Array[] {
    checkRows(input_ids, scores);
    const penalty = fround(this.penalty);
    const beams = Math.max(1, Math.floor(scores.length / this.encoder_input_ids.length));
    return scores.map((row, r) =>
      penalize(row, this.encoder_input_ids[Math.floor(r / beams)] ?? [], penalty),
    );
  }
}

/** Forbids every token that would complete an n-gram that has already occurred. */
export class NoRepeatNGramLogitsProcessor extends RowLogitsProcessor {
  readonly ngram_size: number;
  readonly padding: readonly number[] | null;

  constructor(ngram_size: number, padding: readonly number[] | null = null) {
    super();
    if (!Number.isInteger(ngram_size) || ngram_size <= 0) {
      throw new InvalidArgumentError(
        `\`ngram_size\` has to be a strictly positive integer, but is ${show(ngram_size)}`,
        { subject: 'no_repeat_ngram_size' },
      );
    }
    this.ngram_size = ngram_size;
    this.padding = requirePadding(padding);
  }

  processRow(ids: number[], scores: Float32Array, r: number): Float32Array {
    const prefixLength = this.ngram_size - 1;
    const prefix = ids.length - prefixLength;
    const out = scores.slice();
    for (let i = this.padding?.[r] ?? 0; i + this.ngram_size <= ids.length; i++) {
      let same = true;
      for (let j = 0; same && j < prefixLength; j++) same = ids[i + j] === ids[prefix + j];
      const last = ids[i + prefixLength] as number;
      if (same && last < out.length) out[last] = NEGATIVE_INFINITY;
    }
    return out;
  }
}

/** Token sequences and what is added to the score of their last token after the others. */
export type SequenceBias = readonly (readonly [readonly number[], number])[];

/** Adds a bias to tokens, or to the last token of sequences once the others stand before it. */
export class SequenceBiasLogitsProcessor extends RowLogitsProcessor {
  readonly sequence_bias: SequenceBias;
  private checkedVocabulary = 0;

  /** @param sequence_bias for instance `[[[7], 2.5], [[8, 9], -3.0]]`. */
  constructor(sequence_bias: SequenceBias) {
    super();
    this.sequence_bias = this.validated(sequence_bias);
  }

  protected validated(sequence_bias: SequenceBias): SequenceBias {
    if (!Array.isArray(sequence_bias) || sequence_bias.length === 0) {
      throw listError(
        '`sequence_bias` has to be a non-empty dictionary, or non-empty list of lists',
        'sequence_bias',
        sequence_bias,
      );
    }
    const valid = (entry: unknown): boolean =>
      Array.isArray(entry) &&
      isListOf(entry[0], isTokenId) &&
      entry[0].length > 0 &&
      typeof entry[1] === 'number';
    let tokens = 0;
    const entries = Array.from(sequence_bias, (entry): readonly [readonly number[], number] => {
      tokens += Array.isArray(entry?.[0]) ? entry[0].length : 0;
      checkLimit('sequence_bias', tokens, MAX_LISTED_TOKENS, 'tokens');
      if (!valid(entry)) {
        throw listError(
          'Each element in `sequence_bias` has to be a non-empty list of lists of positive ' +
            'integers and float,',
          'sequence_bias',
          sequence_bias,
        );
      }
      return [[...entry[0]], entry[1]];
    });
    // A sequence given twice has the bias given last, as in a dictionary.
    return [...new Map(entries.map((entry) => [entry[0].join(), entry])).values()];
  }

  processRow(ids: number[], scores: Float32Array): Float32Array {
    this.checkVocabulary(scores.length);
    const bias = new Float32Array(scores.length);
    for (const [sequence, value] of this.sequence_bias) {
      const last = sequence.length - 1;
      const start = ids.length - last;
      if (start < 0) continue;
      let same = true;
      for (let j = 0; same && j < last; j++) same = ids[start + j] === sequence[j];
      if (same) bias[sequence[last] as number] = (bias[sequence[last] as number] ?? 0) + value;
    }
    return scores.map((x, id) => x + (bias[id] as number));
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
    const fail = (text: string): never => {
      throw listError(`${text},`, 'bad_words_ids', bad_words_ids);
    };
    if (!Array.isArray(bad_words_ids) || bad_words_ids.length === 0) {
      fail('`bad_words_ids` has to be a non-empty list');
    }
    let tokens = 0;
    const words = Array.from(bad_words_ids, (ids): readonly number[] => {
      if (!Array.isArray(ids) || ids.length === 0) {
        fail('`bad_words_ids` has to be a list of lists');
      }
      tokens += ids.length;
      checkLimit('bad_words_ids', tokens, MAX_LISTED_TOKENS, 'tokens');
      if (!isListOf(ids, isTokenId)) {
        fail('Each list in `bad_words_ids` has to be a list of positive integers');
      }
      return [...ids];
    });
    const eos = eos_token_id === null ? [] : checkEos(eos_token_id);
    super(
      words
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
export class PrefixConstrainedLogitsProcessor extends RowLogitsProcessor {
  constructor(
    private readonly prefix_allowed_tokens_fn: PrefixAllowedTokens,
    private readonly num_beams: number,
  ) {
    super();
    if (typeof prefix_allowed_tokens_fn !== 'function') {
      throw invalidArgument('prefix_allowed_tokens_fn', 'a function', prefix_allowed_tokens_fn);
    }
    requireCount('num_beams', num_beams, 1, MAX_ROWS);
  }

  processRow(ids: number[], scores: Float32Array, r: number): Float32Array {
    const batch = Math.floor(r / this.num_beams);
    const allowed: unknown = this.prefix_allowed_tokens_fn(batch, ids);
    if (!Array.isArray(allowed) && !isIdArray(allowed)) {
      throw new InvalidArgumentError(
        '`prefix_allowed_tokens_fn` has to return a list of token ids, at once and not as a promise',
        { subject: 'prefix_allowed_tokens_fn', found: allowed },
      );
    }
    if (allowed.length === 0) {
      throw new InvalidArgumentError(
        '`prefix_allowed_tokens_fn` returned an empty list for batch ID ' +
          `${batch}. This means that the constraint is unsatisfiable. Please check your ` +
          'implementation of `prefix_allowed_tokens_fn`',
      );
    }
    const out = new Float32Array(scores.length).fill(NEGATIVE_INFINITY);
    for (let i = 0; i < allowed.length; i++) {
      const id: unknown = allowed[i];
      if (!isTokenId(id) || id >= scores.length) {
        throw invalidArgument(
          'the result of `prefix_allowed_tokens_fn`',
          `token ids from 0 to ${scores.length - 1}`,
          id,
        );
      }
      out[id] = scores[id] as number;
    }
    return out;
  }
}

function isIdArray(value: unknown): value is Int32Array | Uint32Array {
  return value instanceof Int32Array || value instanceof Uint32Array;
}

/** The ids that may follow; `batch_id` is the prompt's index in the batch. */
export type PrefixAllowedTokens = (batch_id: number, input_ids: number[]) => readonly number[];

/** Forces a token to be the first, where the prompt is a single token. */
export class ForcedBOSTokenLogitsProcessor extends RowLogitsProcessor {
  constructor(readonly bos_token_id: number) {
    super();
    requireCount('bos_token_id', bos_token_id, 0, MAX_TOKEN_ID);
  }

  processRow(ids: number[], scores: Float32Array): Float32Array {
    return ids.length === 1 ? force(scores, [this.bos_token_id]) : scores;
  }
}

/** Forces a token (or one of several) to be the last when `max_length` is reached. */
export class ForcedEOSTokenLogitsProcessor extends RowLogitsProcessor {
  readonly eos_token_id: readonly number[];

  constructor(
    readonly max_length: number,
    eos_token_id: number | readonly number[],
  ) {
    super();
    requireCount('max_length', max_length, 1, 2 * MAX_LENGTH);
    this.eos_token_id = checkEos(eos_token_id);
  }

  processRow(ids: number[], scores: Float32Array): Float32Array {
    return ids.length === this.max_length - 1 ? force(scores, this.eos_token_id) : scores;
  }
}

/** Replaces NaN by 0 and infinities by the largest finite values. */
export class InfNanRemoveLogitsProcessor extends RowLogitsProcessor {
  processRow(_: number[], scores: Float32Array): Float32Array {
    return scores.map((x) =>
      Number.isNaN(x) ? 0 : Math.min(Math.max(x, -FLOAT32_MAX), FLOAT32_MAX),
    );
  }
}

/** Raises the end-of-sequence score exponentially after a number of new tokens. */
export class ExponentialDecayLengthPenalty extends RowLogitsProcessor {
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
    const subject = 'exponential_decay_length_penalty';
    const decay = exponential_decay_length_penalty;
    const isPair = Array.isArray(decay) && decay.length === 2;
    if (!isPair || !isListOf(decay, Number.isFinite)) {
      throw invalidArgument(subject, 'two numbers, [start, factor]', decay);
    }
    requireCount('input_ids_seq_length', input_ids_seq_length, 0, MAX_LENGTH);
    this.regulation_start = decay[0] + input_ids_seq_length;
    this.regulation_factor = decay[1];
    this.eos_token_id = checkEos(eos_token_id);
  }

  processRow(ids: number[], scores: Float32Array): Float32Array {
    const beyond = ids.length - this.regulation_start;
    if (beyond <= 0) return scores;
    const factor = fround(this.regulation_factor ** beyond - 1);
    const out = scores.slice();
    for (const id of this.eos_token_id) {
      const score = scores[id];
      if (score !== undefined) out[id] = score + fround(Math.abs(score) * factor);
    }
    return out;
  }
}

/** Forbids tokens as the first new token. */
export class SuppressTokensAtBeginLogitsProcessor extends RowLogitsProcessor {
  readonly begin_suppress_tokens: readonly number[];

  /** @param begin_index the length at which the first new token is chosen. */
  constructor(
    begin_suppress_tokens: readonly number[],
    readonly begin_index: number,
  ) {
    super();
    this.begin_suppress_tokens = requireIds('begin_suppress_tokens', begin_suppress_tokens);
    requireCount('begin_index', begin_index, 0, MAX_LENGTH + 1);
  }

  processRow(ids: number[], scores: Float32Array): Float32Array {
    return ids.length === this.begin_index ? suppress(scores, this.begin_suppress_tokens) : scores;
  }
}

/** Forbids tokens. */
export class SuppressTokensLogitsProcessor extends RowLogitsProcessor {
  readonly suppress_tokens: readonly number[];

  constructor(suppress_tokens: readonly number[]) {
    super();
    this.suppress_tokens = requireIds('suppress_tokens', suppress_tokens);
  }

  processRow(_: number[], scores: Float32Array): Float32Array {
    return suppress(scores, this.suppress_tokens);
  }
}
