/** What ends a row besides the token limit, under transformers' class names. */

import { InvalidArgumentError, invalidArgument } from '../errors.js';
import { Tensor } from '../tensor.js';
import { warnOnce } from '../warnings.js';
import { Callable, CallableList } from './callable.js';
import { checkIdRows, requireCount, requireIds } from './checks.js';
import { softmax } from './float32.js';
import { MAX_EOS_TOKENS, MAX_LENGTH, MAX_TOKEN_ID } from './limits.js';
import { isThenable } from './user-code.js';

/** Whether rows are done: one answer for all, or one a row. */
export type StoppingAnswer = boolean | boolean[];

/**
 * Decides after every new token which rows are done.
 *
 * @param input_ids all ids, prompt and padding included, one list a row. They are the live
 *   lists: read them, copy what you keep.
 * @param scores processed scores of every step so far, each [rows, vocab_size]; null unless both
 *   `return_dict_in_generate` and `output_scores` are set.
 */
export type StoppingCriteriaFunction = (
  input_ids: number[][],
  scores: readonly Tensor[] | null,
) => StoppingAnswer | Promise<StoppingAnswer>;

/** Anything `stopping_criteria` accepts as one criterion. */
export type StoppingCriteriaLike = StoppingCriteria | StoppingCriteriaFunction;

export interface StoppingCriteria {
  // biome-ignore lint/style/useShorthandFunctionType: merges with the class
  (
    input_ids: number[][],
    scores: readonly Tensor[] | null,
  ): StoppingAnswer | Promise<StoppingAnswer>;
}

/**
 * Base class of stopping criteria (transformers `StoppingCriteria`). Subclass it and define
 * `_call(input_ids, scores)`, which may be async; instances can be called.
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: Callable gives instances this call signature
export abstract class StoppingCriteria extends Callable {
  /** See {@link StoppingCriteriaFunction}. */
  abstract _call(
    input_ids: number[][],
    scores: readonly Tensor[] | null,
  ): StoppingAnswer | Promise<StoppingAnswer>;
}

/** One answer a row, whichever form a criterion gave. */
function toRowAnswers(answer: StoppingAnswer, rows: number): readonly boolean[] {
  if (typeof answer === 'boolean') return new Array<boolean>(rows).fill(answer);
  const expected = `a boolean or ${rows} booleans`;
  const name = 'the answer of a stopping criterion';
  if (!Array.isArray(answer)) throw invalidArgument(name, expected, answer);
  if (answer.length !== rows) throw invalidArgument(name, expected, answer.length);
  const wrong = answer.findIndex((flag) => typeof flag !== 'boolean');
  if (wrong >= 0) throw invalidArgument(name, expected, answer[wrong]);
  return answer;
}

function or(answers: readonly StoppingAnswer[], rows: number): boolean[] {
  const done = new Array<boolean>(rows).fill(false);
  for (const answer of answers) {
    toRowAnswers(answer, rows).forEach((flag, r) => {
      if (flag) done[r] = true;
    });
  }
  return done;
}

export interface StoppingCriteriaList {
  // biome-ignore lint/style/useShorthandFunctionType: merges with the class
  (input_ids: number[][], scores: readonly Tensor[] | null): boolean[] | Promise<boolean[]>;
}

/**
 * Criteria whose answers are OR-ed row by row (transformers `StoppingCriteriaList`). Can be
 * called; the answer is a promise where one of the criteria's is.
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: Callable gives instances this call signature
export class StoppingCriteriaList extends CallableList<StoppingCriteriaLike> {
  _call(
    input_ids: number[][],
    scores: readonly Tensor[] | null = null,
  ): boolean[] | Promise<boolean[]> {
    checkIdRows(input_ids);
    const answers: (StoppingAnswer | PromiseLike<StoppingAnswer>)[] = [];
    try {
      for (const criterion of this.items) answers.push(criterion(input_ids, scores));
    } catch (error) {
      // The answers of those before are no longer of interest, whatever they come to.
      Promise.all(answers).catch(() => {});
      throw error;
    }
    const rows = input_ids.length;
    if (answers.some(isThenable)) {
      return Promise.all(answers).then((settled) => or(settled, rows));
    }
    return or(answers as StoppingAnswer[], rows);
  }

  /** `max_length` of the list's {@link MaxLengthCriteria}, if it has one. */
  get max_length(): number | null {
    for (const criterion of this.items) {
      if (criterion instanceof MaxLengthCriteria) return criterion.max_length;
    }
    return null;
  }
}

/**
 * A criterion, a function, an array of either or a list, as a list.
 *
 * @throws InvalidArgumentError for anything else.
 */
export function toStoppingCriteriaList(
  value: StoppingCriteriaLike | Iterable<StoppingCriteriaLike> | null | undefined,
): StoppingCriteriaList {
  if (value === null || value === undefined) return new StoppingCriteriaList();
  if (value instanceof StoppingCriteriaList) return value;
  const items = typeof value === 'function' && !(Symbol.iterator in value) ? [value] : value;
  if (typeof (items as Iterable<StoppingCriteriaLike>)[Symbol.iterator] !== 'function') {
    throw invalidArgument('stopping_criteria', 'a StoppingCriteria, a function or a list', value);
  }
  const list = new StoppingCriteriaList(items as Iterable<StoppingCriteriaLike>);
  for (const item of list) {
    if (typeof item !== 'function') {
      throw invalidArgument('stopping_criteria', 'StoppingCriteria instances or functions', item);
    }
  }
  return list;
}

/** Warns, in transformers' words, of a text that is longer than the model was made for. */
export function remindOfLength(length: number, max_position_embeddings: number | null): void {
  if (max_position_embeddings === null || length <= max_position_embeddings) return;
  warnOnce(
    "This is a friendly reminder - the current text generation call has exceeded the model's " +
      `predefined maximum length (${max_position_embeddings}). Depending on the model, you may ` +
      'observe exceptions, performance degradation, or nothing at all.',
  );
}

/** Ends all rows at a length in tokens, prompt included. */
export class MaxLengthCriteria extends StoppingCriteria {
  /** @param max_position_embeddings a warning is given once the length exceeds it. */
  constructor(
    readonly max_length: number,
    readonly max_position_embeddings: number | null = null,
  ) {
    super();
    requireCount('max_length', max_length, 0, 2 * MAX_LENGTH);
    if (max_position_embeddings !== null) {
      requireCount('max_position_embeddings', max_position_embeddings, 0, MAX_TOKEN_ID);
    }
  }

  _call(input_ids: number[][], _scores: readonly Tensor[] | null = null): boolean {
    checkIdRows(input_ids);
    const length = input_ids[0]?.length ?? 0;
    const done = length >= this.max_length;
    if (!done) remindOfLength(length, this.max_position_embeddings);
    return done;
  }
}

/** Ends all rows once a time has passed. */
export class MaxTimeCriteria extends StoppingCriteria {
  readonly initial_timestamp: number;

  /**
   * @param max_time seconds.
   * @param initial_timestamp start of the clock, in seconds since 1970; now by default.
   */
  constructor(
    readonly max_time: number,
    initial_timestamp: number | null = null,
  ) {
    super();
    for (const [name, value] of Object.entries({ max_time, initial_timestamp })) {
      if (name === 'initial_timestamp' && (value === null || value === undefined)) continue;
      if (typeof value !== 'number' || Number.isNaN(value)) {
        throw invalidArgument(name, 'a number of seconds', value);
      }
    }
    this.initial_timestamp = initial_timestamp ?? Date.now() / 1000;
  }

  _call(_ids: number[][], _scores: readonly Tensor[] | null = null): boolean {
    return Date.now() / 1000 - this.initial_timestamp > this.max_time;
  }
}

/** Ends a row at an end-of-sequence token. */
export class EosTokenCriteria extends StoppingCriteria {
  readonly eos_token_id: readonly number[];

  constructor(eos_token_id: number | readonly number[]) {
    super();
    this.eos_token_id = requireIds('eos_token_id', eos_token_id, MAX_EOS_TOKENS);
  }

  _call(input_ids: number[][], _scores: readonly Tensor[] | null = null): boolean[] {
    checkIdRows(input_ids);
    return input_ids.map((ids) => this.eos_token_id.includes(ids.at(-1) as number));
  }
}

/**
 * Ends generation when the last token of the first row was less probable than a threshold. Needs
 * the scores: `return_dict_in_generate` and `output_scores`.
 */
export class ConfidenceCriteria extends StoppingCriteria {
  /** @param assistant_confidence_threshold a probability. */
  constructor(readonly assistant_confidence_threshold: number) {
    super();
    if (typeof assistant_confidence_threshold !== 'number') {
      throw invalidArgument(
        'assistant_confidence_threshold',
        'a number',
        assistant_confidence_threshold,
      );
    }
  }

  _call(input_ids: number[][], scores: readonly Tensor[] | null): boolean {
    checkIdRows(input_ids);
    const last = Array.isArray(scores) ? (scores.at(-1) as unknown) : undefined;
    if (!(last instanceof Tensor) || last.type !== 'float32' || last.dims.length !== 2) {
      throw new InvalidArgumentError('ConfidenceCriteria needs the scores', {
        remedy: 'Set `return_dict_in_generate: true` and `output_scores: true`',
      });
    }
    const row = last.data.subarray(0, last.dims[1] as number) as Float32Array;
    const p = softmax(row)[input_ids[0]?.at(-1) as number] as number;
    return p < this.assistant_confidence_threshold;
  }
}
