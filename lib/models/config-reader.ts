import type { JsonObject } from '../bounded-json.js';
import { UnsupportedModelError } from '../errors.js';
import { isListOf } from '../list-of.js';

/** Bounds of a number; both are included unless the lower one is given as `above`. */
export type Range = { max: number } & ({ min: number } | { above: number });

/** Characters of a name, such as an architecture's. */
const MAX_NAME = 256;
/** Entries of a list of names: one a layer at most. */
const MAX_NAMES = 1024;
/** Entries of a list of end tokens; published models have up to 5. */
const MAX_TOKEN_IDS = 1000;
/** Token ids are 32-bit integers in the engine. */
const MAX_TOKEN_ID = 2 ** 31 - 1;

function isName(value: unknown): value is string {
  return typeof value === 'string' && value.length <= MAX_NAME;
}

/** Typed, bounded access to the fields of one JSON object; every complaint names the field and the file. */
export class ConfigReader {
  /**
   * @param path prefix of the fields' names in messages, such as "rope_scaling."
   */
  constructor(
    readonly raw: JsonObject,
    readonly file: string | undefined,
    private readonly path = '',
  ) {}

  /** @throws UnsupportedModelError always: `field` is not what it should be. */
  fail(field: string, expected: string): never {
    throw new UnsupportedModelError(`${this.path}${field} of the model's config is not valid`, {
      file: this.file,
      subject: this.path + field,
      expected,
      found: this.raw[field] === undefined ? 'nothing' : this.raw[field],
      remedy: 'Correct the field, or download config.json again.',
    });
  }

  private absent(field: string): boolean {
    return this.raw[field] === undefined || this.raw[field] === null;
  }

  /** An integer in [min, max]; without `fallback` the field must be there. */
  integer(field: string, min: number, max: number, fallback?: number): number {
    if (this.absent(field) && fallback !== undefined) return fallback;
    const value = this.raw[field];
    if (!Number.isSafeInteger(value) || (value as number) < min || (value as number) > max) {
      this.fail(field, `an integer from ${min} to ${max}`);
    }
    return value as number;
  }

  /** A number within `range`; without `fallback` the field must be there. */
  number(field: string, range: Range, fallback?: number): number {
    if (this.absent(field) && fallback !== undefined) return fallback;
    const value = this.raw[field];
    const valid =
      typeof value === 'number' &&
      value <= range.max &&
      ('above' in range ? value > range.above : value >= range.min);
    if (!valid) {
      const low = 'above' in range ? `above ${range.above}` : `from ${range.min}`;
      this.fail(field, `a number ${low}, at most ${range.max}`);
    }
    return value;
  }

  /** As {@link number}, or undefined where the field is absent or null. */
  optionalNumber(field: string, range: Range): number | undefined {
    return this.absent(field) ? undefined : this.number(field, range);
  }

  boolean(field: string, fallback: boolean): boolean {
    if (this.absent(field)) return fallback;
    const value = this.raw[field];
    return typeof value === 'boolean' ? value : this.fail(field, 'true or false');
  }

  string(field: string): string | undefined {
    if (this.absent(field)) return undefined;
    const value = this.raw[field];
    return isName(value) ? value : this.fail(field, `a string of at most ${MAX_NAME} characters`);
  }

  strings(field: string): string[] {
    if (this.absent(field)) return [];
    const value = this.raw[field];
    const valid = Array.isArray(value) && value.length <= MAX_NAMES && isListOf(value, isName);
    return valid
      ? value
      : this.fail(
          field,
          `a list of at most ${MAX_NAMES} strings of at most ${MAX_NAME} characters`,
        );
  }

  /** A token id; null where there is none. -1 means none too, as early Llama checkpoints have it. */
  tokenId(field: string, fallback: number | null): number | null {
    const value = this.raw[field];
    if (value === undefined) return fallback;
    return value === null || value === -1 ? null : this.integer(field, 0, MAX_TOKEN_ID);
  }

  /** One token id, several, or null. */
  tokenIds(field: string, fallback: number | null): number | number[] | null {
    const value = this.raw[field];
    if (!Array.isArray(value)) return this.tokenId(field, fallback);
    const isId = (id: unknown): id is number =>
      Number.isSafeInteger(id) && (id as number) >= 0 && (id as number) <= MAX_TOKEN_ID;
    // The length first: a list may claim any.
    const countable = value.length > 0 && value.length <= MAX_TOKEN_IDS;
    if (!countable || !isListOf(value, isId)) {
      return this.fail(field, `a list of 1 to ${MAX_TOKEN_IDS} token ids`);
    }
    return [...value];
  }
}
