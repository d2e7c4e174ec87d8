import { InvalidArgumentError, invalidArgument } from '../errors.js';
import { Callable } from '../generation/callable.js';
import {
  SPECIAL_TOKEN_NAMES,
  type SpecialTokenName,
  type SpecialTokens,
} from './special-tokens.js';

/**
 * The special token attributes of a tokenizer, as in transformers' class of the same name. Each may be
 * set to a token of the vocabulary: `tokenizer.pad_token = tokenizer.eos_token`.
 */
export abstract class SpecialTokensMixin extends Callable {
  readonly #idOf: (token: string) => number | undefined;
  readonly #named: Record<SpecialTokenName, string | null>;
  readonly #additional: readonly string[];
  readonly #special: Set<number>;

  constructor(tokens: SpecialTokens, idOf: (token: string) => number | undefined) {
    super();
    this.#idOf = idOf;
    this.#named = { ...tokens.named };
    this.#additional = tokens.additional;
    this.#special = new Set(tokens.added.filter((t) => t.special).map((t) => t.id));
  }

  /** Whether `skip_special_tokens` leaves this id out. */
  protected isSpecial(id: number): boolean {
    return this.#special.has(id);
  }

  get bos_token(): string | null {
    return this.#named.bos_token;
  }
  set bos_token(token: string | null) {
    this.#name('bos_token', token);
  }
  get bos_token_id(): number | null {
    return this.#idOfNamed('bos_token');
  }
  get eos_token(): string | null {
    return this.#named.eos_token;
  }
  set eos_token(token: string | null) {
    this.#name('eos_token', token);
  }
  get eos_token_id(): number | null {
    return this.#idOfNamed('eos_token');
  }
  get unk_token(): string | null {
    return this.#named.unk_token;
  }
  set unk_token(token: string | null) {
    this.#name('unk_token', token);
  }
  get unk_token_id(): number | null {
    return this.#idOfNamed('unk_token');
  }
  get pad_token(): string | null {
    return this.#named.pad_token;
  }
  set pad_token(token: string | null) {
    this.#name('pad_token', token);
  }
  get pad_token_id(): number | null {
    return this.#idOfNamed('pad_token');
  }
  get sep_token(): string | null {
    return this.#named.sep_token;
  }
  set sep_token(token: string | null) {
    this.#name('sep_token', token);
  }
  get sep_token_id(): number | null {
    return this.#idOfNamed('sep_token');
  }
  get cls_token(): string | null {
    return this.#named.cls_token;
  }
  set cls_token(token: string | null) {
    this.#name('cls_token', token);
  }
  get cls_token_id(): number | null {
    return this.#idOfNamed('cls_token');
  }
  get mask_token(): string | null {
    return this.#named.mask_token;
  }
  set mask_token(token: string | null) {
    this.#name('mask_token', token);
  }
  get mask_token_id(): number | null {
    return this.#idOfNamed('mask_token');
  }

  get additional_special_tokens(): string[] {
    return [...this.#additional];
  }

  /** The attributes that are set: `{ bos_token: '<s>', ... }`. */
  get special_tokens_map(): Record<string, string | string[]> {
    const map: Record<string, string | string[]> = {};
    for (const name of SPECIAL_TOKEN_NAMES) {
      const token = this.#named[name];
      if (token !== null) map[name] = token;
    }
    if (this.#additional.length > 0) map.additional_special_tokens = [...this.#additional];
    return map;
  }

  /** Distinct tokens of the special attributes. */
  get all_special_tokens(): string[] {
    return [...new Set(Object.values(this.special_tokens_map).flat())];
  }

  get all_special_ids(): number[] {
    return this.all_special_tokens.map(
      (token) => this.#idOf(token) ?? (this.unk_token_id as number),
    );
  }

  #name(name: SpecialTokenName, token: string | null): void {
    if (token !== null && typeof token !== 'string')
      throw invalidArgument(name, 'a string or null', token);
    const id = token === null ? undefined : this.#idOf(token);
    if (token !== null && id === undefined) {
      throw new InvalidArgumentError(`${name} is not in the vocabulary`, {
        found: token,
        remedy: 'Choose a token that the model knows: its embedding has no row for a new one.',
      });
    }
    this.#named[name] = token;
    if (id !== undefined) this.#special.add(id);
  }

  #idOfNamed(name: SpecialTokenName): number | null {
    const token = this.#named[name];
    return token === null ? null : (this.#idOf(token) ?? null);
  }
}
