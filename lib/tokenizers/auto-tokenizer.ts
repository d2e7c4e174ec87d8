import path from 'node:path';
import { isObject, type JsonObject } from '../bounded-json.js';
import { checkOptions, type OptionRules } from '../check-options.js';
import { invalidArgument, TokenizerError, throwIfAborted } from '../errors.js';
import { type HubOptions, resolveModelDir } from '../hub/index.js';
import { MODEL_RULES } from '../pretrained-options.js';
import type { PaddingSide } from './batch-encoding.js';
import { readChatTemplates } from './chat-template.js';
import type { Encoder } from './encoder.js';
import { readTokenizerFiles, TOKENIZER_FILES, type TokenizerFiles } from './files.js';
import { readVocabulary, TokenizerJsonEncoder } from './json-encoder.js';
import {
  bosEosProcessor,
  checkProcessor,
  PLAIN,
  type PostProcessor,
  readPostProcessor,
} from './post-processor.js';
import { PreTrainedTokenizer } from './pretrained-tokenizer.js';
import { SentencePieceProcessor } from './sentencepiece/processor.js';
import { SentencePieceEncoder, sentencePieceAddedTokens } from './sentencepiece-encoder.js';
import { Settings } from './settings.js';
import {
  type AddedToken,
  readAddedToken,
  resolveSpecialTokens,
  SPECIAL_TOKEN_NAMES,
  type SpecialTokens,
} from './special-tokens.js';
import { runInSlices, type Steps } from './steps.js';

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
   * @throws AbortError once `signal` fires. The event loop goes on all the while.
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
    throwIfAborted(signal);
    const files = await readTokenizerFiles(directory, signal);
    return runInSlices(buildTokenizer(files, options, nameOrPath), signal);
  }
}

/** transformers' value of model_max_length where the files do not say. */
const VERY_LARGE_INTEGER = 1e30;

/** Puts a tokenizer together from its files. */
function* buildTokenizer(
  files: TokenizerFiles,
  options: AutoTokenizerOptions,
  nameOrPath: string,
): Steps<PreTrainedTokenizer> {
  const settings = new Settings(files.config, options as JsonObject);
  const overrides: JsonObject = {};
  for (const name of SPECIAL_TOKEN_NAMES) overrides[name] = settings.option(name);
  const isLlama = /^(Code)?Llama|^Mistral/.test(settings.text('tokenizer_class') ?? '');
  const build =
    files.tokenizer !== null
      ? yield* fromTokenizerJson(files, files.tokenizer, settings, overrides, isLlama)
      : yield* fromSentencePiece(files, files.sentencepiece as Uint8Array, settings, overrides);
  const left = isLlama || files.tokenizer === null;
  const length = settings.number('model_max_length') ?? 0;
  return new PreTrainedTokenizer({
    ...build,
    chatTemplate: options.chat_template ?? readChatTemplates(files),
    paddingSide: settings.side('padding_side') ?? (left ? 'left' : 'right'),
    truncationSide: settings.side('truncation_side') ?? 'right',
    modelMaxLength: length > 0 ? length : VERY_LARGE_INTEGER,
    cleanUpTokenizationSpaces: settings.flag('clean_up_tokenization_spaces') ?? false,
    nameOrPath,
  });
}

interface Build {
  encoder: Encoder;
  specialTokens: SpecialTokens;
  postProcessor: PostProcessor;
}

const LLAMA_DEFAULTS = { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' };

function* fromTokenizerJson(
  files: TokenizerFiles,
  json: JsonObject,
  settings: Settings,
  overrides: JsonObject,
  isLlama: boolean,
): Steps<Build> {
  const file = path.join(files.directory, 'tokenizer.json');
  const listed = json.added_tokens ?? [];
  if (!Array.isArray(listed) || !listed.every(isObject)) {
    throw new TokenizerError('Malformed added_tokens', { file, expected: 'a list of objects' });
  }
  const vocabulary = yield* readVocabulary(json, file);
  const own: AddedToken[] = listed.map((token) => readAddedToken(token.id, token, file));
  const { ids } = vocabulary;
  let nextId = 0;
  for (const id of ids.values()) nextId = Math.max(nextId, id + 1);
  const facts = {
    idOf: (token: string) => ids.get(token),
    nextId,
    added: own,
    defaults: isLlama ? LLAMA_DEFAULTS : {},
  };
  const specialTokens = resolveSpecialTokens(files, facts, overrides);
  const encoder = yield* TokenizerJsonEncoder.build(json, vocabulary, specialTokens.added, file);
  const explicit = settings.has('add_bos_token') || settings.has('add_eos_token');
  const postProcessor = explicit
    ? configuredProcessor(settings, false, specialTokens, encoder)
    : (readPostProcessor(json.post_processor) ?? PLAIN);
  checkProcessor(postProcessor, encoder.tokens.length, file);
  return { encoder, specialTokens, postProcessor };
}

function* fromSentencePiece(
  files: TokenizerFiles,
  bytes: Uint8Array,
  settings: Settings,
  overrides: JsonObject,
): Steps<Build> {
  const file = path.join(files.directory, 'tokenizer.model');
  const processor = yield* SentencePieceProcessor.build(bytes, file);
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
  const encoder = yield* SentencePieceEncoder.build(
    processor,
    specialTokens.added,
    {
      // Repositories without the flag were written before it existed.
      legacy: settings.flag('legacy') ?? true,
      addPrefixSpace:
        settings.flag('add_prefix_space') ?? processor.proto.normalizer.addDummyPrefix,
    },
    file,
  );
  const postProcessor = configuredProcessor(settings, true, specialTokens, encoder);
  return { encoder, specialTokens, postProcessor };
}

function configuredProcessor(
  settings: Settings,
  addBosByDefault: boolean,
  { named }: SpecialTokens,
  encoder: Encoder,
): PostProcessor {
  const id = (wanted: boolean, token: string | null): number | null =>
    wanted && token !== null ? (encoder.idOf(token) ?? null) : null;
  return bosEosProcessor(
    id(settings.flag('add_bos_token') ?? addBosByDefault, named.bos_token),
    id(settings.flag('add_eos_token') ?? false, named.eos_token),
  );
}
