import { InvalidArgumentError, type KomtError } from '../errors.js';
import { warnOnce } from '../warnings.js';
import { checkFieldTypes } from './field-types.js';
import type { GenerationField, GenerationFields } from './generation-fields.js';

/** What a check found: nothing may be done with errors; minor issues are flags without effect. */
interface Findings {
  /** Field name -> what is wrong, in transformers' words. */
  minor: Map<string, string>;
}

/** Sampling-only flags and the value at which each is off. */
const SAMPLING_FLAGS: readonly [GenerationField, unknown][] = [
  ['temperature', 1],
  ['top_p', 1],
  ['min_p', null],
  ['top_h', null],
  ['typical_p', 1],
  ['top_k', 50],
  ['epsilon_cutoff', 0],
  ['eta_cutoff', 0],
];

/** Beam-only flags and the value at which each is off. */
const BEAM_FLAGS: readonly [GenerationField, unknown][] = [
  ['early_stopping', false],
  ['length_penalty', 1],
];

function fail(field: GenerationField, text: string): never {
  throw new InvalidArgumentError(text, { subject: field });
}

function check(fields: GenerationFields, given: ReadonlySet<string> | null): Findings {
  const minor = new Map<string, string>();
  const f = fields;
  checkFieldTypes(f);
  // A flag inherited from the model is no reason to warn where the caller chose the mode.
  const worthTelling = (mode: string, flag: string): boolean =>
    given === null || given.has(flag) || !given.has(mode);

  if (![null, undefined, true, false, 'never'].includes(f.early_stopping)) {
    fail(
      'early_stopping',
      `\`early_stopping\` must be a boolean or 'never', but is ${f.early_stopping}.`,
    );
  }
  if (f.max_new_tokens != null && !(f.max_new_tokens > 0)) {
    fail(
      'max_new_tokens',
      `\`max_new_tokens\` must be greater than 0, but is ${f.max_new_tokens}.`,
    );
  }
  for (const field of [
    'max_new_tokens',
    'max_length',
    'num_beams',
    'num_return_sequences',
  ] as const) {
    const value = f[field];
    if (value != null && (!Number.isInteger(value) || value < 1)) {
      fail(field, `\`${field}\` has to be an integer > 0, but is ${value}.`);
    }
  }
  if (f.pad_token_id != null && f.pad_token_id < 0) {
    minor.set(
      'pad_token_id',
      `\`pad_token_id\` should be positive but got ${f.pad_token_id}. This will cause errors when ` +
        'batch generating, if there is padding. Please set `pad_token_id` explicitly as ' +
        '`model.generation_config.pad_token_id=PAD_TOKEN_ID` to avoid errors in generation',
    );
  }

  if (f.do_sample !== true) {
    for (const [flag, off] of SAMPLING_FLAGS) {
      const value = f[flag] ?? null;
      if (value === null || value === off || !worthTelling('do_sample', flag)) continue;
      minor.set(
        flag,
        `\`do_sample\` is not set to \`true\`. However, \`${flag}\` is set to \`${value}\` -- this ` +
          'flag is only used in sample-based generation modes. You should set `do_sample: true` ' +
          `or unset \`${flag}\`.`,
      );
    }
  }
  const num_beams = f.num_beams ?? 1;
  if (num_beams === 1) {
    for (const [flag, off] of BEAM_FLAGS) {
      const value = f[flag] ?? null;
      if (value === null || value === off || !worthTelling('num_beams', flag)) continue;
      minor.set(
        flag,
        `\`num_beams\` is set to ${num_beams}. However, \`${flag}\` is set to \`${value}\` -- this ` +
          'flag is only used in beam-based generation modes. You should set `num_beams > 1` or ' +
          `unset \`${flag}\`.`,
      );
    }
  }

  const sequences = f.num_return_sequences ?? 1;
  if (sequences > 1 && num_beams === 1 && f.do_sample !== true) {
    fail(
      'num_return_sequences',
      'Greedy methods (do_sample != true) without beam search do not support ' +
        `\`num_return_sequences\` different than 1 (got ${sequences}).`,
    );
  }
  if (sequences > 1 && num_beams > 1 && sequences > num_beams) {
    fail(
      'num_return_sequences',
      `\`num_return_sequences\` (${sequences}) has to be smaller or equal to \`num_beams\` ` +
        `(${num_beams}).`,
    );
  }

  if (f.return_dict_in_generate !== true) {
    for (const flag of ['output_scores', 'output_logits'] as const) {
      if (f[flag] !== true) continue;
      minor.set(
        flag,
        `\`return_dict_in_generate\` is NOT set to \`true\`, but \`${flag}\` is. When ` +
          `\`return_dict_in_generate\` is not \`true\`, \`${flag}\` is ignored.`,
      );
    }
  }

  const suppressed = new Set(f.suppress_tokens ?? []);
  for (const field of ['forced_bos_token_id', 'forced_eos_token_id'] as const) {
    const forced = [f[field] ?? []].flat();
    if (forced.length === 0 || !forced.every((id) => suppressed.has(id))) continue;
    fail(
      field,
      `Every token in \`${field}\` ([${forced.join(', ')}]) is also in \`suppress_tokens\`. ` +
        'Forcing a token while suppressing it sets all logits to `-inf` at the forcing step, ' +
        'which produces `nan` probabilities and crashes generation. Remove the overlapping ' +
        `token(s) from either \`${field}\` or \`suppress_tokens\` (if you meant to prevent an ` +
        'early EOS token, use `min_new_tokens` instead).',
    );
  }
  return { minor };
}

/** The first line names the flags; the following ones say why, as transformers' info log does. */
function describe(minor: ReadonlyMap<string, string>): string {
  return [...minor].map(([field, text]) => `- \`${field}\`: ${text}`).join('\n');
}

/**
 * Checks what can be checked of a configuration by itself.
 *
 * @param given names of the fields the caller set, where others were inherited from the model:
 *   flags that cannot have an effect are then reported only where the caller is the reason.
 * @throws InvalidArgumentError for values that cannot be meant. Flags without effect warn.
 */
export function validate(fields: GenerationFields, given: ReadonlySet<string> | null = null): void {
  const { minor } = check(fields, given);
  if (minor.size === 0) return;
  const names = [...minor.keys()].map((name) => `'${name}'`).join(', ');
  const headline = `The following generation flags are not valid and may be ignored: [${names}].`;
  warnOnce(
    `${headline}\n${describe(minor)}\nIf you're using a pretrained model, note that some of ` +
      "these attributes may be set through the model's `generation_config.json` file.",
    headline,
  );
}

/**
 * As {@link validate}, for a configuration about to be saved: what would warn throws.
 *
 * @throws InvalidArgumentError
 */
export function validateStrictly(fields: GenerationFields): void {
  const remedy = 'Fix these issues to save the configuration.';
  let minor: ReadonlyMap<string, string>;
  try {
    ({ minor } = check(fields, null));
  } catch (error) {
    const { message } = error as KomtError;
    throw new InvalidArgumentError(`${message}\n\n${remedy}`, { cause: error });
  }
  if (minor.size > 0) {
    throw new InvalidArgumentError(
      `GenerationConfig is invalid: \n${describe(minor)}\n\n${remedy}`,
    );
  }
}
