import { isObject, type JsonObject } from '../bounded-json.js';
import { TokenizerError } from '../errors.js';
import type { TokenizerFiles } from './files.js';

/** Names of Hugging Face's special token attributes. */
export const SPECIAL_TOKEN_NAMES = [
  'bos_token',
  'eos_token',
  'unk_token',
  'sep_token',
  'pad_token',
  'cls_token',
  'mask_token',
] as const;

export type SpecialTokenName = (typeof SPECIAL_TOKEN_NAMES)[number];

/** Hugging Face's `AddedToken`: a token that is found in the text before the model sees it. */
export interface AddedToken {
  id: number;
  content: string;
  /** Only where it is a word of its own. */
  single_word: boolean;
  /** Takes white space on its left with it. */
  lstrip: boolean;
  /** Takes white space on its right with it. */
  rstrip: boolean;
  /** Looked for in the normalized text. */
  normalized: boolean;
  /** Left out by `skip_special_tokens`. */
  special: boolean;
}

/** Added tokens, and which of them plays which part. */
export interface SpecialTokens {
  /** Value of each attribute; null where unset. */
  named: Record<SpecialTokenName, string | null>;
  /** `additional_special_tokens` (`extra_special_tokens`). */
  additional: string[];
  /** Every added token, by id. */
  added: AddedToken[];
}

/** Text of a token in a file: a string, or an object with content; null where there is none. */
function readToken(value: unknown, name: string, file: string): string | null {
  if (value === null || value === undefined) return null;
  const content = isObject(value) ? value.content : value;
  if (typeof content === 'string') return content;
  throw new TokenizerError('Malformed special token', {
    file,
    subject: name,
    expected: 'a string, an object with content, or null',
    found: value,
  });
}

/** Reads one added token of a file. */
export function readAddedToken(id: unknown, value: JsonObject, file: string): AddedToken {
  const { content } = value;
  if (
    typeof content !== 'string' ||
    content === '' ||
    !Number.isSafeInteger(id) ||
    (id as number) < 0
  ) {
    throw new TokenizerError('Malformed added token', {
      file,
      expected: 'an object with content that is not empty, under an id of 0 or more',
      found: { id, ...value },
    });
  }
  const special = value.special === true;
  return {
    id: id as number,
    content,
    single_word: value.single_word === true,
    lstrip: value.lstrip === true,
    rstrip: value.rstrip === true,
    normalized: typeof value.normalized === 'boolean' ? value.normalized : !special,
    special,
  };
}

/** What the vocabulary itself knows, before the configuration files speak. */
export interface VocabularyFacts {
  /** Id of a token, added ones included. */
  idOf: (token: string) => number | undefined;
  /** The first id that is free. */
  nextId: number;
  /** Added tokens that came with the vocabulary. */
  added: readonly AddedToken[];
  /** Attributes that the vocabulary suggests where no file sets them. */
  defaults: Partial<Record<SpecialTokenName, string>>;
}

/**
 * Merges tokenizer_config.json, special_tokens_map.json and added_tokens.json as transformers does:
 * with `added_tokens_decoder` in tokenizer_config.json the other two are not looked at; without it,
 * special_tokens_map.json goes above tokenizer_config.json. Special tokens that have no id get the
 * next free one.
 *
 * @param overrides attributes given to `from_pretrained`; they go above every file.
 * @throws TokenizerError for what has a wrong type.
 */
export function resolveSpecialTokens(
  files: TokenizerFiles,
  facts: VocabularyFacts,
  overrides: JsonObject,
): SpecialTokens {
  const CONFIG = 'tokenizer_config.json';
  const decoder = files.config.added_tokens_decoder ?? null;
  if (decoder !== null && !isObject(decoder)) {
    throw new TokenizerError('Malformed added_tokens_decoder', {
      file: CONFIG,
      expected: 'an object of tokens by id',
      found: decoder,
    });
  }
  const map = decoder === null ? (files.specialTokensMap ?? {}) : {};
  const given = Object.fromEntries(Object.entries(overrides).filter(([, v]) => v !== undefined));
  const settings: JsonObject = { ...files.config, ...map, ...given };
  const fileOf = (name: string): string =>
    Object.hasOwn(map, name) ? 'special_tokens_map.json' : CONFIG;

  const named = {} as Record<SpecialTokenName, string | null>;
  for (const name of SPECIAL_TOKEN_NAMES) {
    named[name] = Object.hasOwn(settings, name)
      ? readToken(settings[name], name, fileOf(name))
      : (facts.defaults[name] ?? null);
  }
  const extraName =
    (settings.extra_special_tokens ?? null) !== null
      ? 'extra_special_tokens'
      : 'additional_special_tokens';
  const extra = settings[extraName] ?? [];
  if (!isObject(extra) && !Array.isArray(extra)) {
    throw new TokenizerError('Malformed list of special tokens', {
      file: fileOf(extraName),
      subject: extraName,
      expected: 'a list, or an object of tokens by name',
      found: extra,
    });
  }
  const additional = Object.values(extra)
    .map((value) => readToken(value, extraName, fileOf(extraName)))
    .filter((content) => content !== null);

  const added = new Map<string, AddedToken>();
  for (const token of facts.added) added.set(token.content, { ...token });
  const wanted = new Set([...Object.values(named), ...additional]);
  const take = (token: AddedToken): void => {
    const known = added.get(token.content);
    if (known === undefined) added.set(token.content, token);
    else known.special ||= token.special;
  };
  if (decoder !== null) {
    for (const [id, value] of Object.entries(decoder)) {
      const number = /^\d+$/.test(id) ? Number(id) : id;
      take(readAddedToken(number, isObject(value) ? value : {}, CONFIG));
    }
  } else {
    for (const [content, id] of Object.entries(files.addedTokens ?? {})) {
      const special = wanted.has(content);
      take(readAddedToken(id, { content, special, normalized: !special }, 'added_tokens.json'));
    }
  }

  let next = facts.nextId;
  for (const token of added.values()) next = Math.max(next, token.id + 1);
  for (const content of wanted) {
    if (content === null || content === '') continue;
    const known = added.get(content);
    if (known !== undefined) {
      known.special = true;
      continue;
    }
    const id = facts.idOf(content) ?? next++;
    added.set(
      content,
      readAddedToken(id, { content, special: true, normalized: false }, 'settings'),
    );
  }
  return { named, additional, added: [...added.values()].sort((a, b) => a.id - b.id) };
}
