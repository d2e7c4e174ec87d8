import { isObject, type JsonObject } from '../checkpoint/strict-json.js';
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

function contentOf(value: unknown): string | null {
  if (typeof value === 'string') return value;
  if (isObject(value) && typeof value.content === 'string') return value.content;
  return null;
}

/** Reads one added token of a file. */
export function readAddedToken(id: unknown, value: JsonObject, file: string): AddedToken {
  const content = contentOf(value);
  if (content === null || content === '' || !Number.isSafeInteger(id) || (id as number) < 0) {
    throw new TokenizerError('Malformed added token', {
      file,
      expected: 'an object with content, under an id of 0 or more',
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
 */
export function resolveSpecialTokens(
  files: TokenizerFiles,
  facts: VocabularyFacts,
  overrides: JsonObject,
): SpecialTokens {
  const decoder = isObject(files.config.added_tokens_decoder)
    ? files.config.added_tokens_decoder
    : null;
  const settings: JsonObject = { ...files.config };
  if (decoder === null) Object.assign(settings, files.specialTokensMap ?? {});
  for (const [key, value] of Object.entries(overrides)) {
    if (value !== undefined) settings[key] = value;
  }

  const named = {} as Record<SpecialTokenName, string | null>;
  for (const name of SPECIAL_TOKEN_NAMES) {
    named[name] = name in settings ? contentOf(settings[name]) : (facts.defaults[name] ?? null);
  }
  const extra = settings.extra_special_tokens ?? settings.additional_special_tokens;
  const additional = Object.values(isObject(extra) || Array.isArray(extra) ? extra : [])
    .map(contentOf)
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
      if (isObject(value)) take(readAddedToken(Number(id), value, 'tokenizer_config.json'));
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
