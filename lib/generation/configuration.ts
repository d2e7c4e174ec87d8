import { mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withSignal } from '../abort.js';
import { isObject, readBoundedJson } from '../bounded-json.js';
import { requireOptions } from '../check-options.js';
import { LIMITS } from '../checkpoint/types.js';
import { FileNotFoundError, InvalidArgumentError, invalidArgument } from '../errors.js';
import { type HubOptions, resolveModelDir } from '../hub/index.js';
import { HUB_OPTIONS } from '../pretrained-options.js';
import { warnOnce } from '../warnings.js';
import { remedyFor } from './foreign-names.js';
import {
  GENERATION_FIELDS,
  type GenerationField,
  type GenerationFields,
  isGenerationField,
  isNeutral,
  NEUTRAL_FIELDS,
} from './generation-fields.js';
import { checkLimit, MAX_LISTED_TOKENS } from './limits.js';
import { validate, validateStrictly } from './validation.js';

const FILE_NAME = 'generation_config.json';

/** Arguments of generate that are no part of a configuration, as transformers lists them. */
const CALL_ARGUMENTS = [
  'logits_processor',
  'stopping_criteria',
  'prefix_allowed_tokens_fn',
  'synced_gpus',
  'assistant_model',
  'streamer',
  'negative_prompt_ids',
  'negative_prompt_attention_mask',
];

/** Lists around each other: those of `sequence_bias` hold entries, and these hold ids. */
const MAX_NESTING = 3;
/** Values in all lists of a field: as many as `sequence_bias` has for MAX_LISTED_TOKENS entries of one token. */
const MAX_VALUES = 4 * MAX_LISTED_TOKENS;

/** Fields copied from the caller's object: lists, and lists in lists, are not shared with it. */
function copy(name: GenerationField, value: unknown): unknown {
  let values = 0;
  const copied = (item: unknown, depth: number): unknown => {
    if (!Array.isArray(item)) return item;
    if (depth === MAX_NESTING) {
      throw new InvalidArgumentError(`\`${name}\` has too many lists inside each other`, {
        subject: name,
        expected: `at most ${MAX_NESTING}`,
        remedy: 'docs/generation.md says what the field holds.',
      });
    }
    const { length } = item;
    values += length;
    checkLimit(name, values, MAX_VALUES, 'values');
    return Array.from({ length }, (_, i) => copied(item[i], depth + 1));
  };
  return copied(value, 0);
}

/** The error for a name that is no generation field. */
export function unknownField(name: string): InvalidArgumentError {
  if (CALL_ARGUMENTS.includes(name)) {
    return new InvalidArgumentError(
      `Argument \`${name}\` is not a valid argument of \`GenerationConfig\`. It should be passed ` +
        'to `generate()` (or a pipeline) directly.',
      { subject: name },
    );
  }
  if (Object.hasOwn(NEUTRAL_FIELDS, name)) {
    return new InvalidArgumentError(`\`${name}\` is not supported`, {
      subject: name,
      remedy: 'Leave it out; docs/generation.md lists what komt supports and why',
    });
  }
  return new InvalidArgumentError(`Unknown generation field \`${name}\``, {
    subject: name,
    remedy: remedyFor(name, GENERATION_FIELDS),
  });
}

export interface GenerationConfig extends Required<GenerationFields> {}

/**
 * What generation is to do (transformers `GenerationConfig`). Unset fields are null; see
 * {@link GenerationFields} for each field and its default.
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: the constructor assigns every field of the interface
export class GenerationConfig {
  /**
   * @throws InvalidArgumentError for an unknown field, naming the nearest one, and for values
   *   that cannot be meant. Flags without effect warn.
   */
  constructor(fields: GenerationFields = {}) {
    checkFields(fields);
    for (const name of GENERATION_FIELDS) this.#set(name, null);
    const given = new Set<string>();
    for (const [name, value] of Object.entries(fields)) {
      if (isGenerationField(name)) {
        this.#set(name, value ?? null);
        if (value != null) given.add(name);
      } else if (!isNeutral(name, value)) {
        throw unknownField(name);
      }
    }
    // Checked first: what is no list of a length that can be meant is not copied.
    validate(this, given);
    for (const name of given)
      this.#set(
        name as GenerationField,
        copy(name as GenerationField, this[name as GenerationField]),
      );
  }

  #set(name: GenerationField, value: unknown): void {
    (this as unknown as Record<string, unknown>)[name] = value;
  }

  /**
   * Sets fields.
   *
   * @throws InvalidArgumentError as the constructor.
   */
  update(fields: GenerationFields): this {
    checkFields(fields);
    const next = new GenerationConfig({ ...this.to_dict(), ...fields });
    for (const name of GENERATION_FIELDS) this.#set(name, next[name]);
    return this;
  }

  /** The fields that are set. */
  to_dict(): GenerationFields {
    const set = GENERATION_FIELDS.filter((name) => this[name] !== null);
    return Object.fromEntries(
      set.map((name) => [name, copy(name, this[name])]),
    ) as GenerationFields;
  }

  /**
   * The fields that are set, as JSON text with sorted keys, as transformers writes it.
   *
   * @throws InvalidArgumentError for what JSON has no form for, such as a bigint.
   */
  to_json(): string {
    const sorted = Object.entries(this.to_dict()).sort(([a], [b]) => (a < b ? -1 : 1));
    try {
      return `${JSON.stringify(Object.fromEntries(sorted), null, 2)}\n`;
    } catch (cause) {
      throw new InvalidArgumentError('The configuration holds a value that JSON cannot', {
        subject: 'GenerationConfig',
        expected: 'numbers, texts, booleans and lists of them',
        found: cause instanceof Error ? cause.message : cause,
        remedy: 'docs/generation.md says what each field holds.',
        cause,
      });
    }
  }

  /** As {@link to_json}, under transformers' name. */
  to_json_string(): string {
    return this.to_json();
  }

  /** For `JSON.stringify`. */
  toJSON(): GenerationFields {
    return this.to_dict();
  }

  /**
   * From the text or the value of a `generation_config.json`. Unlike the constructor it accepts
   * fields komt does not know, for files are written by newer tools and for other libraries; it
   * warns about those that would have had an effect.
   *
   * @param origin where the JSON came from, for messages.
   * @throws InvalidArgumentError for text that is no JSON object.
   */
  static from_json(json: string | object, origin = FILE_NAME): GenerationConfig {
    if (typeof origin !== 'string') {
      throw invalidArgument('origin', "a text such as the file's name", origin);
    }
    const value: unknown = typeof json === 'string' ? parse(json, origin) : json;
    if (!isObject(value)) {
      throw new InvalidArgumentError('Not a JSON object', { file: origin });
    }
    const fields: Record<string, unknown> = {};
    for (const [name, content] of Object.entries(value)) {
      if (isGenerationField(name)) fields[name] = content;
      else if (!isNeutral(name, content)) {
        warnOnce(`\`${name}\` in ${origin} is not supported and will be ignored.`);
      }
    }
    return new GenerationConfig(fields);
  }

  /**
   * From the generation fields that a model's `config.json` may hold, as files written before
   * `generation_config.json` existed do.
   */
  static from_model_config(config: object): GenerationConfig {
    if (!isObject(config)) {
      throw invalidArgument('config', "the fields of a model's config.json", config);
    }
    const entries = Object.entries(config).filter(([name]) => isGenerationField(name));
    const generation = new GenerationConfig(Object.fromEntries(entries));
    if (generation.output_scores || generation.output_logits) {
      generation.return_dict_in_generate = true;
    }
    return generation;
  }

  /**
   * From `generation_config.json` in a local folder or a repository on the Hub.
   *
   * @param fields set over what the file says, and where to find it.
   * @throws FileNotFoundError where there is no such file, CheckpointError where it is no JSON object,
   *   InvalidArgumentError for values that cannot be meant, HubError
   */
  static async from_pretrained(
    folderOrId: string,
    fields: GenerationFields & Omit<HubOptions, 'patterns'> & { config_file_name?: string } = {},
  ): Promise<GenerationConfig> {
    requireOptions('GenerationConfig.from_pretrained', fields);
    const { config_file_name = FILE_NAME, ...others } = fields;
    checkFileName(config_file_name);
    const isHubOption = ([name]: [string, unknown]) => HUB_OPTIONS.some((known) => known === name);
    const hub = Object.fromEntries(Object.entries(others).filter(isHubOption)) as HubOptions;
    const overrides = Object.fromEntries(
      Object.entries(others).filter((entry) => !isHubOption(entry)),
    ) as GenerationFields;
    const folder = await withSignal(hub.signal, (signal) =>
      resolveModelDir(folderOrId, { ...hub, signal, patterns: [config_file_name] }),
    );
    const file = join(folder, config_file_name);
    const json = await readBoundedJson(file, {
      maxBytes: LIMITS.configBytes,
      maxValues: LIMITS.configValues,
      maxDepth: LIMITS.jsonDepth,
      signal: hub.signal,
    }).catch((cause) => {
      if (!(cause instanceof FileNotFoundError)) throw cause;
      throw new FileNotFoundError("Can't load the generation configuration", { file, cause });
    });
    const config = fromFile(json, file);
    return Object.keys(overrides).length === 0 ? config : config.update(overrides);
  }

  /**
   * Writes `generation_config.json` into a folder, which is created if need be.
   *
   * @throws InvalidArgumentError for a configuration that would warn or throw when used.
   */
  async save_pretrained(folder: string, config_file_name = FILE_NAME): Promise<void> {
    validateStrictly(this);
    checkFileName(config_file_name);
    if (typeof folder !== 'string') throw invalidArgument('folder', 'a path', folder);
    const existing = await stat(folder).catch(() => null);
    if (existing !== null && !existing.isDirectory()) {
      throw new InvalidArgumentError(`Provided path (${folder}) should be a directory, not a file`);
    }
    const file = join(folder, config_file_name);
    try {
      await mkdir(folder, { recursive: true });
      await writeFile(file, this.to_json());
    } catch (cause) {
      throw new InvalidArgumentError('The configuration could not be written', {
        file,
        found: (cause as NodeJS.ErrnoException).code,
        remedy: 'Choose a folder that can be written to.',
        cause,
      });
    }
  }
}

/** As {@link GenerationConfig.from_json}; errors of values name the file as well. */
function fromFile(json: object, file: string): GenerationConfig {
  try {
    return GenerationConfig.from_json(json, file);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError) || error.file !== undefined) throw error;
    const { message, subject } = error;
    throw new InvalidArgumentError(message, { subject, file, cause: error });
  }
}

function checkFields(fields: unknown): void {
  if (isObject(fields)) return;
  throw invalidArgument('the fields of GenerationConfig', 'an object', fields);
}

function checkFileName(name: string): void {
  if (typeof name === 'string' && name !== '') return;
  throw invalidArgument('config_file_name', 'the name of a file', name);
}

function parse(text: string, origin: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new InvalidArgumentError(
      `It looks like the config file at '${origin}' is not a valid JSON file`,
      {
        file: origin,
        found: (cause as Error).message,
        remedy: 'Correct it, download it again, or remove it.',
        cause,
      },
    );
  }
}
