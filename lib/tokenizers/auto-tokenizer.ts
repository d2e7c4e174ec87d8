import path from 'node:path';
import { checkOptions, type OptionRules } from '../check-options.js';
import { isObject, type JsonObject } from '../checkpoint/strict-json.js';
import { invalidArgument, TokenizerError } from '../errors.js';
import { type HubOptions, resolveModelDir } from '../hub/index.js';
import { MODEL_RULES } from '../pretrained-options.js';
import type { PaddingSide } from './batch-encoding.js';
import { readChatTemplates } from './chat-template.js';
import {
  type Encoder,
  SentencePieceEncoder,
  sentencePieceAddedTokens,
  TokenizerJsonEncoder,
} from './encoder.js';
import { readTokenizerFiles, TOKENIZER_FILES, type TokenizerFiles } from './files.js';
import { bosEosProcessor, PLAIN, type PostProcessor, readPostProcessor } from './post-processor.js';
import { PreTrainedTokenizer } from './pretrained-tokenizer.js';
import { SentencePieceProcessor } from './sentencepiece/processor.js';
import {
  type AddedToken,
  readAddedToken,
  resolveSpecialTokens,
  SPECIAL_TOKEN_NAMES,
  type SpecialTokens,
} from './special-tokens.js';

/** Options of `AutoTokenizer.from_pretrained`: where to find the files, and settings of its own. */
export interface AutoTokenizerOptions extends Omit<HubOptions, 'patterns'> {
  /** These go above what the files say, as in transformers. */
  padding_side?: PaddingSide;
  truncation_side?: PaddingSide;
  model_max_length?: number;
  add_bos_token?: boolean;
  add_eos_token?: boolean;
  add_prefix_space?: boolean;
  legacy?: boolean;
  bos_token?: string;
  eos_token?: string;
  unk_token?: string;
  pad_token?: string;
  chat_template?: string;
}

/** Its options; those of the model are let through, for one object often serves both. */
const RULES: OptionRules = {
  ...MODEL_RULES,
  known: [
    'padding_side',
    'truncation_side',
    'model_max_length',
    'add_bos_token',
    'add_eos_token',
    'add_prefix_space',
    'legacy',
    'chat_template',
    'clean_up_tokenization_spaces',
    ...SPECIAL_TOKEN_NAMES,
    ...MODEL_RULES.known,
  ],
};

/** Loads the tokenizer of a checkpoint: transformers' entry point. */
export class AutoTokenizer {
  private constructor() {}

  /**
   * @param nameOrPath a local folder, or a repository id on the Hub.
   * @throws InvalidArgumentError for an option that does not exist.
   * @throws FileNotFoundError if there is neither tokenizer.json nor tokenizer.model.
   * @throws TokenizerError if a file is malformed or needs what is not known.
   * @throws HubError if the repository cannot be had.
   */
  static async from_pretrained(
    nameOrPath: string,
    options: AutoTokenizerOptions = {},
  ): Promise<PreTrainedTokenizer> {
    if (typeof nameOrPath !== 'string' || nameOrPath === '') {
      throw invalidArgument(
        'pretrained_model_name_or_path',
        'a folder or repository id',
        nameOrPath,
      );
    }
    checkOptions('AutoTokenizer.from_pretrained', options, RULES);
    const { revision, cache_dir, token, local_files_only, subfolder, progress_callback, signal } =
      options;
    const directory = await resolveModelDir(nameOrPath, {
      revision,
      cache_dir,
      token,
      local_files_only,
      subfolder,
      progress_callback,
      signal,
      patterns: [...TOKENIZER_FILES],
    });
    const files = await readTokenizerFiles(directory);
    return buildTokenizer(files, options, nameOrPath);
  }
}

/** transformers' value of model_max_length where the files do not say. */
const VERY_LARGE_INTEGER = 1e30;

/** Puts a tokenizer together from its files. */
function buildTokenizer(
  files: TokenizerFiles,
  options: AutoTokenizerOptions,
  nameOrPath: string,
): PreTrainedTokenizer {
  const settings: JsonObject = { ...files.config };
  for (const [key, value] of Object.entries(options)) {
    if (value !== undefined) settings[key] = value;
  }
  const overrides: JsonObject = {};
  for (const name of SPECIAL_TOKEN_NAMES) {
    const value = (options as JsonObject)[name];
    if (value !== undefined) overrides[name] = value;
  }
  const isLlama = /^(Code)?Llama|^Mistral/.test(String(settings.tokenizer_class ?? ''));
  const build =
    files.tokenizer !== null
      ? fromTokenizerJson(files, files.tokenizer, settings, overrides, isLlama)
      : fromSentencePiece(files, files.sentencepiece as Uint8Array, settings, overrides);
  const side = (key: string, fallback: PaddingSide): PaddingSide => {
    const value = settings[key] ?? fallback;
    if (value !== 'left' && value !== 'right')
      throw invalidArgument(key, "'left' or 'right'", value);
    return value;
  };
  const length = settings.model_max_length;
  return new PreTrainedTokenizer({
    ...build,
    chatTemplate: options.chat_template ?? readChatTemplates(files),
    paddingSide: side('padding_side', isLlama || files.tokenizer === null ? 'left' : 'right'),
    truncationSide: side('truncation_side', 'right'),
    modelMaxLength: typeof length === 'number' && length > 0 ? length : VERY_LARGE_INTEGER,
    cleanUpTokenizationSpaces: settings.clean_up_tokenization_spaces === true,
    nameOrPath,
  });
}

interface Build {
  encoder: Encoder;
  specialTokens: SpecialTokens;
  postProcessor: PostProcessor;
}

const LLAMA_DEFAULTS = { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' };

function fromTokenizerJson(
  files: TokenizerFiles,
  json: JsonObject,
  settings: JsonObject,
  overrides: JsonObject,
  isLlama: boolean,
): Build {
  const file = path.join(files.directory, 'tokenizer.json');
  const listed = json.added_tokens ?? [];
  if (!Array.isArray(listed) || !listed.every(isObject)) {
    throw new TokenizerError('Malformed added_tokens', { file, expected: 'a list of objects' });
  }
  const own: AddedToken[] = listed.map((token) => readAddedToken(token.id, token, file));
  // A first look at the vocabulary alone, because new special tokens need to know which ids are free.
  const vocab = vocabularyOf(json, file);
  const facts = {
    idOf: (token: string) => vocab.get(token),
    nextId: [...vocab.values()].reduce((next, id) => Math.max(next, id + 1), 0),
    added: own,
    defaults: isLlama ? LLAMA_DEFAULTS : {},
  };
  const specialTokens = resolveSpecialTokens(files, facts, overrides);
  const encoder = new TokenizerJsonEncoder(json, specialTokens.added, file);
  const explicit = 'add_bos_token' in settings || 'add_eos_token' in settings;
  const postProcessor = explicit
    ? configuredProcessor(settings, false, specialTokens, encoder)
    : (readPostProcessor(json.post_processor) ?? PLAIN);
  return { encoder, specialTokens, postProcessor };
}

function vocabularyOf(json: JsonObject, file: string): Map<string, number> {
  const vocab = isObject(json.model) ? json.model.vocab : undefined;
  const entries: [string, unknown][] = Array.isArray(vocab)
    ? vocab.map((entry, id) => [String((entry as unknown[])[0]), id])
    : Object.entries(isObject(vocab) ? vocab : {});
  for (const [token, id] of entries) {
    if (!Number.isSafeInteger(id) || (id as number) < 0 || (id as number) > 1e8) {
      throw new TokenizerError('Malformed vocabulary', {
        file,
        subject: token,
        expected: 'an id',
        found: id,
      });
    }
  }
  return new Map(entries as [string, number][]);
}

function fromSentencePiece(
  files: TokenizerFiles,
  bytes: Uint8Array,
  settings: JsonObject,
  overrides: JsonObject,
): Build {
  const file = path.join(files.directory, 'tokenizer.model');
  const processor = new SentencePieceProcessor(bytes, file);
  const { pieces, bosId, eosId, unkId } = processor.proto;
  const ids = new Map(pieces.map(({ piece }, id) => [piece, id]));
  const defaults: Record<string, string> = {};
  for (const [name, id] of [
    ['bos_token', bosId],
    ['eos_token', eosId],
    ['unk_token', unkId],
  ] as const) {
    const piece = pieces[id]?.piece;
    if (piece !== undefined) defaults[name] = piece;
  }
  const specialTokens = resolveSpecialTokens(
    files,
    {
      idOf: (token) => ids.get(token),
      nextId: pieces.length,
      added: sentencePieceAddedTokens(processor),
      defaults,
    },
    overrides,
  );
  const prefix = settings.add_prefix_space;
  const encoder = new SentencePieceEncoder(processor, specialTokens.added, {
    // Repositories without the flag were written before it existed.
    legacy: settings.legacy !== false,
    addPrefixSpace:
      typeof prefix === 'boolean' ? prefix : processor.proto.normalizer.addDummyPrefix,
  });
  const postProcessor = configuredProcessor(settings, true, specialTokens, encoder);
  return { encoder, specialTokens, postProcessor };
}

function configuredProcessor(
  settings: JsonObject,
  addBosByDefault: boolean,
  { named }: SpecialTokens,
  encoder: Encoder,
): PostProcessor {
  const id = (wanted: unknown, token: string | null): number | null =>
    wanted === true && token !== null ? (encoder.idOf(token) ?? null) : null;
  return bosEosProcessor(
    id(settings.add_bos_token ?? addBosByDefault, named.bos_token),
    id(settings.add_eos_token ?? false, named.eos_token),
  );
}
