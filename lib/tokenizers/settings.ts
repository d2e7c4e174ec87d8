import type { JsonObject } from '../bounded-json.js';
import { invalidArgument, TokenizerError } from '../errors.js';
import type { PaddingSide } from './batch-encoding.js';

/** tokenizer_config.json under the options of `from_pretrained`: what a file says wrong is its error. */
export class Settings {
  readonly #config: JsonObject;
  readonly #options: JsonObject;

  constructor(config: JsonObject, options: JsonObject) {
    this.#config = config;
    this.#options = options;
  }

  /** What the options say, or undefined. */
  option(name: string): unknown {
    return Object.hasOwn(this.#options, name) ? this.#options[name] : undefined;
  }

  has(name: string): boolean {
    return this.option(name) !== undefined || Object.hasOwn(this.#config, name);
  }

  #value(name: string): unknown {
    if (this.option(name) !== undefined) return this.option(name);
    return Object.hasOwn(this.#config, name) ? this.#config[name] : undefined;
  }

  #read<T>(name: string, expected: string, is: (value: unknown) => boolean): T | null {
    const value = this.#value(name) ?? null;
    if (value === null || is(value)) return value as T | null;
    if (this.option(name) !== undefined) throw invalidArgument(name, expected, value);
    throw new TokenizerError('Malformed setting', {
      file: 'tokenizer_config.json',
      subject: name,
      expected,
      found: value,
    });
  }

  /** Null where it is not set, as for the others. */
  flag(name: string): boolean | null {
    return this.#read(name, 'true, false or null', (value) => typeof value === 'boolean');
  }

  number(name: string): number | null {
    return this.#read(name, 'a number', (value) => typeof value === 'number');
  }

  text(name: string): string | null {
    return this.#read(name, 'a string', (value) => typeof value === 'string');
  }

  side(name: string): PaddingSide | null {
    return this.#read(name, "'left' or 'right'", (value) => value === 'left' || value === 'right');
  }
}
