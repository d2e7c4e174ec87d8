import { readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { foreignFolder } from '../checkpoint/foreign-formats.js';
import { isObject, type JsonObject } from '../checkpoint/strict-json.js';
import { FileNotFoundError, TokenizerError } from '../errors.js';

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

/** Twenty times the largest tokenizer.json published; a larger file is not read into memory. */
const MAX_BYTES = 512 * 1024 * 1024;

async function readOptional(file: string): Promise<Buffer | null> {
  try {
    const { size } = await stat(file);
    if (size > MAX_BYTES) {
      throw new TokenizerError('Tokenizer file too large', {
        file,
        expected: `at most ${MAX_BYTES} bytes`,
        found: size,
      });
    }
    return await readFile(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

async function readJson(file: string): Promise<JsonObject | null> {
  const bytes = await readOptional(file);
  if (bytes === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (cause) {
    throw new TokenizerError('Malformed JSON in a tokenizer file', {
      file,
      found: (cause as Error).message,
      remedy: 'The file is damaged or was not downloaded to its end; download it again.',
      cause,
    });
  }
  if (!isObject(value)) {
    throw new TokenizerError('Malformed tokenizer file', { file, expected: 'a JSON object' });
  }
  return value;
}

/**
 * Reads what `directory` holds of {@link TOKENIZER_FILES}.
 *
 * @throws FileNotFoundError if neither tokenizer.json nor tokenizer.model is there.
 * @throws TokenizerError if a file is malformed.
 */
export async function readTokenizerFiles(directory: string): Promise<TokenizerFiles> {
  const at = (name: string) => path.join(directory, name);
  const tokenizer = await readJson(at('tokenizer.json'));
  const model = tokenizer === null ? await readOptional(at('tokenizer.model')) : null;
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
    config: (await readJson(at('tokenizer_config.json'))) ?? {},
    specialTokensMap: await readJson(at('special_tokens_map.json')),
    addedTokens: await readJson(at('added_tokens.json')),
    chatTemplate: (await readOptional(at('chat_template.jinja')))?.toString('utf8') ?? null,
  };
}
