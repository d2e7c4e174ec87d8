import { InvalidArgumentError, invalidArgument } from '../errors.js';
import { Tensor, type TokenIds, toRows } from '../tensor.js';
import { warnOnce } from '../warnings.js';
import { checkLimit, MAX_PROMPT_TOKENS, MAX_ROWS } from './limits.js';

/** Prompts as the caller gave them, and as the engine takes them. */
export interface PreparedInputs {
  /** The rows with their padding; all of `length`. */
  rows: number[][];
  /** The rows without masked tokens. */
  prompts: number[][];
  /** 1 where a row's token counts, 0 where it is padding. */
  mask: number[][];
  /** Tokens of left padding, a row. */
  padding: number[];
  /** Tokens in each row, padding included. */
  length: number;
}

/** What rows are checked and completed with. */
export interface InputContext {
  vocab_size: number;
  bos: number | null;
  eos: readonly number[] | null;
  /** `pad_token_id` as configured, before any default. */
  pad_token_id: number | null;
}

/**
 * Splits prompts from padding: masked tokens never reach the engine, so a padded row answers as
 * it does alone.
 *
 * Without a mask, padding is what equals `pad_token_id`, provided that this is no end-of-sequence
 * token; otherwise everything counts.
 *
 * @throws InvalidArgumentError for rows of different lengths, ids outside the vocabulary, a mask
 *   of another shape, or a row that is all padding.
 */
export function prepareInputs(
  input_ids: TokenIds | null,
  attention_mask: TokenIds | null,
  context: InputContext,
): PreparedInputs {
  checkSize(input_ids);
  const rows = promptRows(input_ids, context);
  const length = rows[0]?.length ?? 0;
  for (const row of rows) checkRow(row, length, context.vocab_size);
  const batched = rows.length > 1;
  const pad = context.pad_token_id ?? context.eos?.[0] ?? null;

  if (attention_mask === null && batched && context.eos !== null) {
    if (context.pad_token_id === null) {
      warnOnce(
        'The attention mask and the pad token id were not set, with a batched input. As a ' +
          "consequence, you may observe unexpected behavior. Please pass your input's " +
          '`attention_mask` to obtain reliable results.',
      );
    }
    if (pad !== null && context.eos.includes(pad)) {
      warnOnce(
        'The attention mask is not set with a batched input, and cannot be inferred from input ' +
          'because pad token is same as eos token. As a consequence, you may observe unexpected ' +
          "behavior. Please pass your input's `attention_mask` to obtain reliable results.",
      );
    }
  }

  const given = attention_mask === null ? null : toMask(attention_mask);
  // An empty text has an empty mask, which says nothing of the bos token that stands for it.
  const hasMask = given !== null && !(isEmpty(given) && isEmpty(givenRows(input_ids)));
  const mask = hasMask ? given : inferMask(rows, pad, context.eos);
  if (mask.length !== rows.length || mask.some((row) => row.length !== length)) {
    throw new InvalidArgumentError('attention_mask has another shape than input_ids', {
      subject: 'attention_mask',
      expected: `[${rows.length}, ${length}]`,
      found: `[${mask.length}, ${mask[0]?.length ?? 0}]`,
      remedy: 'Pass both as one call of the tokenizer gave them.',
    });
  }
  const endsInPadding =
    attention_mask === null
      ? rows.some((row) => row.at(-1) === pad)
      : mask.some((row) => row.at(-1) === 0);
  if (batched && pad !== null && endsInPadding) {
    warnOnce(
      'A decoder-only architecture is being used, but right-padding was detected! For correct ' +
        "generation results, please set `padding_side='left'` when initializing the tokenizer.",
    );
  }

  const prompts = rows.map((row, r) => row.filter((_, i) => mask[r]?.[i] !== 0));
  prompts.forEach((prompt, r) => {
    if (prompt.length === 0) {
      throw new InvalidArgumentError(`Row ${r} of attention_mask is all padding`, {
        subject: 'attention_mask',
        expected: 'at least one 1',
      });
    }
  });
  return { rows, prompts, mask, padding: mask.map((row) => row.indexOf(1)), length };
}

/** Refuses more rows or tokens than can work, before they are looked at or copied. */
function checkSize(ids: TokenIds | null, name = 'input_ids'): void {
  if (ids instanceof Tensor) {
    if (ids.dims.length === 2) checkLimit(name, ids.dims[0] as number, MAX_ROWS, 'rows');
    checkLimit(name, ids.size, MAX_PROMPT_TOKENS, 'tokens');
  } else if (Array.isArray(ids)) {
    const isRows = Array.isArray(ids[0]) || ids[0] instanceof Tensor;
    if (isRows) checkLimit(name, ids.length, MAX_ROWS, 'rows');
    // What is no row has no length that counts; toRows refuses it.
    const lengthOf = (row: unknown): number =>
      Array.isArray(row) || row instanceof Tensor ? row.length : 0;
    const tokens = isRows ? ids.reduce((sum: number, row) => sum + lengthOf(row), 0) : ids.length;
    checkLimit(name, tokens, MAX_PROMPT_TOKENS, 'tokens');
  }
}

function givenRows(input_ids: TokenIds | null): number[][] {
  return input_ids === null ? [] : toRows(input_ids, 'input_ids');
}

function isEmpty(rows: readonly (readonly number[])[]): boolean {
  return rows.every((row) => row.length === 0);
}

function promptRows(input_ids: TokenIds | null, context: InputContext): number[][] {
  const given = givenRows(input_ids);
  if (!isEmpty(given)) return given;
  if (context.bos === null) {
    throw new InvalidArgumentError(
      '`bos_token_id` has to be defined when no `input_ids` are provided.',
      { subject: 'input_ids' },
    );
  }
  return [[context.bos]];
}

function checkRow(row: readonly number[], length: number, vocab_size: number): void {
  if (row.length !== length) {
    throw new InvalidArgumentError('The rows of input_ids have different lengths', {
      subject: 'input_ids',
      expected: length,
      found: row.length,
      remedy: 'Pass `padding: true` to the tokenizer, with `padding_side: "left"`',
    });
  }
  for (const id of row) {
    if (!Number.isInteger(id) || id < 0 || id >= vocab_size) {
      throw invalidArgument('input_ids', `token ids from 0 to ${vocab_size - 1}`, id);
    }
  }
}

function inferMask(
  rows: readonly number[][],
  pad: number | null,
  eos: readonly number[] | null,
): number[][] {
  const usable =
    pad !== null && !(eos?.includes(pad) ?? false) && rows.some((row) => row.includes(pad));
  return rows.map((row) => row.map((id) => (usable && id === pad ? 0 : 1)));
}

function toMask(mask: TokenIds): number[][] {
  if (mask instanceof Tensor && mask.dims.length > 2) {
    throw new InvalidArgumentError('`attention_mask` passed to `generate` must be 2D.', {
      subject: 'attention_mask',
      found: mask.dims,
    });
  }
  checkSize(mask, 'attention_mask');
  return toRows(mask, 'attention_mask').map((row) => row.map((x) => (x === 0 ? 0 : 1)));
}
