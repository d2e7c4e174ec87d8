import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FileNotFoundError, InvalidArgumentError } from '../errors.js';
import { type HubOptions, resolveModelDir } from '../hub/index.js';
import { nearestName } from '../nearest-name.js';
import { HUB_OPTIONS } from '../pretrained-options.js';
import { warnOnce } from '../warnings.js';
import {
  GENERATION_FIELDS,
  type GenerationField,
  type GenerationFields,
  isGenerationField,
  isNeutral,
  NEUTRAL_FIELDS,
} from './generation-fields.js';
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

/** Fields copied from the caller's object: lists are not shared with it. */
function copy<T>(value: T): T {
  return typeof value === 'object' && value !== null ? structuredClone(value) : value;
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
  if (name in NEUTRAL_FIELDS) {
    return new InvalidArgumentError(`\`${name}\` is not supported`, {
      subject: name,
      remedy: 'Leave it out; docs/generation.md lists what komt supports and why',
    });
  }
  return new InvalidArgumentError(`Unknown generation field \`${name}\``, {
    subject: name,
    remedy: `Did you mean \`${nearestName(name, GENERATION_FIELDS)}\`?`,
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
    for (const name of GENERATION_FIELDS) this.set(name, null);
    const given = new Set<string>();
    for (const [name, value] of Object.entries(fields)) {
      if (isGenerationField(name)) {
        this.set(name, copy(value ?? null));
        if (value != null) given.add(name);
      } else if (!isNeutral(name, value)) {
        throw unknownField(name);
      }
    }
    validate(this, given);
  }

  private set(name: GenerationField, value: unknown): void {
    (this as unknown as Record<string, unknown>)[name] = value;
  }

  /**
   * Sets fields.
   *
   * @throws InvalidArgumentError as the constructor.
   */
  update(fields: GenerationFields): this {
    const next = new GenerationConfig({ ...this.to_dict(), ...fields });
    for (const name of GENERATION_FIELDS) this.set(name, next[name]);
    return this;
  }

  /** The fields that are set. */
  to_dict(): GenerationFields {
    const set = GENERATION_FIELDS.filter((name) => this[name] !== null);
    return Object.fromEntries(set.map((name) => [name, copy(this[name])]));
  }

  /** The fields that are set, as JSON text with sorted keys, as transformers writes it. */
  to_json(): string {
    const sorted = Object.entries(this.to_dict()).sort(([a], [b]) => (a < b ? -1 : 1));
    return `${JSON.stringify(Object.fromEntries(sorted), null, 2)}\n`;
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
    const value = typeof json === 'string' ? parse(json, origin) : json;
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
   * @throws FileNotFoundError where there is no such file, HubError
   */
  static async from_pretrained(
    folderOrId: string,
    fields: GenerationFields & Omit<HubOptions, 'patterns'> & { config_file_name?: string } = {},
  ): Promise<GenerationConfig> {
    const { config_file_name = FILE_NAME, ...others } = fields;
    const isHubOption = ([name]: [string, unknown]) => HUB_OPTIONS.some((known) => known === name);
    const hub = Object.fromEntries(Object.entries(others).filter(isHubOption)) as HubOptions;
    const overrides = Object.fromEntries(
      Object.entries(others).filter((entry) => !isHubOption(entry)),
    ) as GenerationFields;
    const folder = await resolveModelDir(folderOrId, { ...hub, patterns: [config_file_name] });
    const file = join(folder, config_file_name);
    const text = await readFile(file, 'utf8').catch((cause) => {
      throw new FileNotFoundError("Can't load the generation configuration", { file, cause });
    });
    const config = GenerationConfig.from_json(text, file);
    return Object.keys(overrides).length === 0 ? config : config.update(overrides);
  }

  /**
   * Writes `generation_config.json` into a folder, which is created if need be.
   *
   * @throws InvalidArgumentError for a configuration that would warn or throw when used.
   */
  async save_pretrained(folder: string, config_file_name = FILE_NAME): Promise<void> {
    validateStrictly(this);
    const existing = await stat(folder).catch(() => null);
    if (existing !== null && !existing.isDirectory()) {
      throw new InvalidArgumentError(`Provided path (${folder}) should be a directory, not a file`);
    }
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, config_file_name), this.to_json());
  }
}

function parse(text: string, origin: string): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
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
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new InvalidArgumentError('Not a JSON object', { file: origin });
  }
  return value;
}
