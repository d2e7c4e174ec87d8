import path from 'node:path';
import { readBoundedFile, readBoundedText } from '../bounded-file.js';
import { type JsonObject, parseBoundedJson, readBoundedJson } from '../bounded-json.js';
import { foreignFolder } from '../checkpoint/foreign-formats.js';
import { FileNotFoundError, TokenizerError } from '../errors.js';
import {
  MAX_JSON_DEPTH,
  MAX_MODEL_BYTES,
  MAX_SETTINGS_BYTES,
  MAX_SETTINGS_VALUES,
  MAX_TEMPLATE_LENGTH,
  MAX_TOKENIZER_JSON_BRACES,
  MAX_TOKENIZER_JSON_BRACKETS,
  MAX_TOKENIZER_JSON_BYTES,
  MAX_TOKENIZER_JSON_VALUES,
} from './limits.js';
import { runInSlices, type Steps } from './steps.js';

/** The files of a repository that describe its tokenizer; absent ones are null. */
export interface TokenizerFiles {
  directory: string;
  /** tokenizer.json */
  tokenizer: JsonObject | null;
  /** tokenizer.model */
  sentencepiece: Uint8Array | null;
  /** tokenizer_config.json */
  config: JsonObject;
  /** special_tokens_map.json */
  specialTokensMap: JsonObject | null;
  /** added_tokens.json */
  addedTokens: JsonObject | null;
  /** chat_template.jinja */
  chatTemplate: string | null;
}

/** File names {@link readTokenizerFiles} looks for, for whoever fetches them. */
export const TOKENIZER_FILES: readonly string[] = [
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'chat_template.jinja',
];

/** What a file gives, or null where it is not there. */
async function optional<T>(reading: Promise<T>): Promise<T | null> {
  try {
    return await reading;
  } catch (error) {
    if (error instanceof FileNotFoundError) return null;
    throw error;
  }
}

/** Bytes that are looked at between two places where others may run. */
const PIECE = 4 * 1024 * 1024;

async function readTokenizerJson(file: string, signal?: AbortSignal): Promise<JsonObject> {
  const bytes = await readBoundedFile(file, {
    maxBytes: MAX_TOKENIZER_JSON_BYTES,
    error: TokenizerError,
    signal,
  });
  // Counted before anything is parsed: a file of nothing else would cost ten times its size.
  if (!(await runInSlices(hasFewParts(bytes), signal))) {
    throw new TokenizerError('tokenizer.json has more objects or lists than any vocabulary needs', {
      file,
      expected: `at most ${MAX_TOKENIZER_JSON_BRACES} objects and ${MAX_TOKENIZER_JSON_BRACKETS} lists`,
      found: 'more',
    });
  }
  return parseBoundedJson(bytes, {
    file,
    maxBytes: MAX_TOKENIZER_JSON_BYTES,
    maxValues: MAX_TOKENIZER_JSON_VALUES,
    maxDepth: MAX_JSON_DEPTH,
    error: TokenizerError,
    signal,
  });
}

function* hasFewParts(bytes: Uint8Array): Steps<boolean> {
  let braces = 0;
  let brackets = 0;
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] === 0x7b && ++braces > MAX_TOKENIZER_JSON_BRACES) return false;
    if (bytes[i] === 0x5b && ++brackets > MAX_TOKENIZER_JSON_BRACKETS) return false;
    if (i % PIECE === PIECE - 1) yield;
  }
  return true;
}

/**
 * Reads what `directory` holds of {@link TOKENIZER_FILES}.
 *
 * @throws FileNotFoundError if neither tokenizer.json nor tokenizer.model is there.
 * @throws TokenizerError if a file is malformed, too large, or no regular file.
 * @throws AbortError
 */
export async function readTokenizerFiles(
  directory: string,
  signal?: AbortSignal,
): Promise<TokenizerFiles> {
  const at = (name: string) => path.join(directory, name);
  const base = { error: TokenizerError, signal };
  const settings = (name: string) =>
    optional(
      readBoundedJson(at(name), {
        ...base,
        maxBytes: MAX_SETTINGS_BYTES,
        maxValues: MAX_SETTINGS_VALUES,
        maxDepth: MAX_JSON_DEPTH,
      }),
    );
  const tokenizer = await optional(readTokenizerJson(at('tokenizer.json'), signal));
  const model =
    tokenizer === null
      ? await optional(
          readBoundedFile(at('tokenizer.model'), { ...base, maxBytes: MAX_MODEL_BYTES }),
        )
      : null;
  if (tokenizer === null && model === null) {
    const foreign = await foreignFolder(directory);
    throw new FileNotFoundError('No tokenizer in this folder', {
      file: directory,
      expected: 'tokenizer.json or tokenizer.model',
      found: foreign?.found,
      remedy:
        foreign?.remedy ??
        'Check the path or repository id, and `subfolder` where the tokenizer lies deeper.',
    });
  }
  return {
    directory,
    tokenizer,
    sentencepiece: model,
    config: (await settings('tokenizer_config.json')) ?? {},
    specialTokensMap: await settings('special_tokens_map.json'),
    addedTokens: await settings('added_tokens.json'),
    chatTemplate: await optional(
      // Four bytes of UTF-8 a character at most.
      readBoundedText(at('chat_template.jinja'), { ...base, maxBytes: 4 * MAX_TEMPLATE_LENGTH }),
    ),
  };
}
