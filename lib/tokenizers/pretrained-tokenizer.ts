import { checkOptions, requireOptions } from '../check-options.js';
import { InvalidArgumentError, invalidArgument, throwIfAborted } from '../errors.js';
import { isListOf } from '../list-of.js';
import type { Tensor, TokenIds } from '../tensor.js';
import { toRows } from '../tensor.js';
import { warnOnce } from '../warnings.js';
import {
  assembleBatch,
  type BatchEncoding,
  type EncodedRow,
  type PaddingSide,
  wantsTensors,
} from './batch-encoding.js';
import {
  type ChatMessage,
  type ChatTemplates,
  cutAfterFinalMessage,
  renderChat,
  selectChatTemplate,
} from './chat-template.js';
import { DecodeStream } from './decode-stream.js';
import { compileDecoder, type DecoderFactory } from './decoder.js';
import type { Encoder } from './encoder.js';
import { MAX_PAD_MULTIPLE } from './limits.js';
import { PLAIN, type PostProcessor, postProcess, specialTokenCount } from './post-processor.js';
import type { SpecialTokens } from './special-tokens.js';
import { SpecialTokensMixin } from './special-tokens-mixin.js';
import { runAtOnce, runInSlices, type Steps } from './steps.js';
import { CleaningDecoder, type TokenDecoder } from './token-decoders.js';
import {
  CALL_RULES,
  type ChatTemplateOptions,
  DECODE_RULES,
  type DecodeOptions,
  type TokenizerCallOptions,
} from './tokenizer-options.js';
import { isTruncationStrategy, keptLengths, type Truncation } from './truncation.js';

/** Above this a model_max_length counts as not set. */
const LARGE = 1e20;

/** Everything a tokenizer is made of; put together by `AutoTokenizer`. */
export interface TokenizerParts {
  encoder: Encoder;
  specialTokens: SpecialTokens;
  postProcessor: PostProcessor;
  chatTemplate: ChatTemplates;
  paddingSide: PaddingSide;
  truncationSide: PaddingSide;
  modelMaxLength: number;
  cleanUpTokenizationSpaces: boolean;
  nameOrPath: string;
}

/** Of the calls that do not block. */
export interface AsyncOptions {
  signal?: AbortSignal;
}

type Texts = string | readonly string[];
type WithTensors = { return_tensors: 'pt' | 'np' | true } | { return_tensor: 'pt' | 'np' | true };

export interface PreTrainedTokenizer {
  /** Encodes one text or several. */
  (text: Texts, options: TokenizerCallOptions & WithTensors): BatchEncoding<Tensor>;
  (text: string, options?: TokenizerCallOptions): BatchEncoding<number[]>;
  (text: readonly string[], options?: TokenizerCallOptions): BatchEncoding<number[][]>;
  (text: Texts, options?: TokenizerCallOptions): BatchEncoding;
}

/**
 * Text to token ids and back, with transformers' surface: `tokenizer(text, { return_tensors: 'pt' })`.
 * Made by `AutoTokenizer.from_pretrained`.
 */
// biome-ignore lint/suspicious/noUnsafeDeclarationMerging: the instances are functions (see Callable)
export class PreTrainedTokenizer extends SpecialTokensMixin {
  /** Side on which rows are padded: 'left' for generation. */
  padding_side: PaddingSide;
  /** Side on which rows are cut. */
  truncation_side: PaddingSide;
  /** Longest input in tokens; 1e30 where the files do not say. */
  model_max_length: number;
  /** Template(s) of `apply_chat_template`. */
  chat_template: ChatTemplates;
  clean_up_tokenization_spaces: boolean;
  /** Folder or repository it came from. */
  readonly name_or_path: string;
  readonly #encoder: Encoder;
  readonly #postProcessor: PostProcessor;
  readonly #makeDecoder: DecoderFactory;

  constructor(parts: TokenizerParts) {
    const { encoder } = parts;
    super(parts.specialTokens, (token) => encoder.idOf(token));
    this.padding_side = parts.paddingSide;
    this.truncation_side = parts.truncationSide;
    this.model_max_length = parts.modelMaxLength;
    this.chat_template = parts.chatTemplate;
    this.clean_up_tokenization_spaces = parts.cleanUpTokenizationSpaces;
    this.name_or_path = parts.nameOrPath;
    this.#encoder = encoder;
    this.#postProcessor = parts.postProcessor;
    this.#makeDecoder = compileDecoder(encoder.decoderConfig);
  }

  /** Size of the model's vocabulary, without added tokens (as in transformers). */
  get vocab_size(): number {
    return this.#encoder.modelSize;
  }

  /** Size of the whole vocabulary, added tokens included: transformers' `len(tokenizer)`. */
  get length(): number {
    return this.#encoder.tokens.length;
  }

  /** Ids by token, added tokens included. */
  get_vocab(): Record<string, number> {
    const vocab: Record<string, number> = Object.create(null);
    this.#encoder.tokens.forEach((token, id) => {
      if (token !== undefined) vocab[token] = id;
    });
    return vocab;
  }

  /**
   * Encodes; what calling the tokenizer runs. The event loop waits for it: about a second for 1 MB. For
   * texts above 100 KB there is {@link call_async}.
   */
  _call(text: Texts, options: TokenizerCallOptions = {}): BatchEncoding {
    checkOptions('tokenizer()', options, CALL_RULES);
    return runAtOnce(this.#encodeBatch(text, options));
  }

  /**
   * The same as calling the tokenizer, in slices of a few milliseconds between which the event loop goes
   * on: for texts of any size. The result is the same, whatever else is encoded meanwhile.
   *
   * @param options those of the call, and `signal`.
   * @throws AbortError
   */
  call_async(
    text: Texts,
    options: TokenizerCallOptions & WithTensors & AsyncOptions,
  ): Promise<BatchEncoding<Tensor>>;
  call_async(
    text: string,
    options?: TokenizerCallOptions & AsyncOptions,
  ): Promise<BatchEncoding<number[]>>;
  call_async(
    text: readonly string[],
    options?: TokenizerCallOptions & AsyncOptions,
  ): Promise<BatchEncoding<number[][]>>;
  async call_async(
    text: Texts,
    options: TokenizerCallOptions & AsyncOptions = {},
  ): Promise<BatchEncoding> {
    const given = options ?? {};
    requireOptions('tokenizer.call_async()', given);
    const { signal, ...others } = given;
    checkOptions('tokenizer.call_async()', others, CALL_RULES);
    throwIfAborted(signal);
    return runInSlices(this.#encodeBatch(text, others), signal);
  }

  *#encodeBatch(text: Texts, options: TokenizerCallOptions): Steps<BatchEncoding> {
    const single = typeof text === 'string';
    const texts: readonly unknown[] = typeof text === 'string' ? [text] : text;
    if (!Array.isArray(texts)) throw invalidArgument('text', 'a string or a list of strings', text);
    const pairs = typeof options.text_pair === 'string' ? [options.text_pair] : options.text_pair;
    if (pairs && pairs.length !== texts.length) {
      throw invalidArgument('text_pair', `${texts.length} texts`, pairs.length);
    }
    const cut = this.#truncation(options);
    const specials = options.add_special_tokens ?? true;
    const withTypes = options.return_token_type_ids ?? false;
    const rows: EncodedRow[] = [];
    for (let i = 0; i < texts.length; i++) {
      const one = texts[i];
      const other = pairs?.[i] ?? null;
      if (typeof one !== 'string') throw invalidArgument(`text[${i}]`, 'a string', one);
      if (other !== null && typeof other !== 'string')
        throw invalidArgument(`text_pair[${i}]`, 'a string', other);
      rows.push(yield* this.#encodeRow(one, other, specials, withTypes, cut));
      if (i % 64 === 63) yield;
    }
    for (const row of rows) {
      if (row.ids.length > this.model_max_length && cut === null) {
        warnOnce(
          `Token indices sequence length is longer than the specified maximum sequence length for this model (${row.ids.length} > ${this.model_max_length}). Running this sequence through the model will result in indexing errors`,
          'tokenizer-sequence-too-long',
        );
      }
    }
    return yield* assembleBatch(rows, {
      pad: this.#padPlan(options),
      tensors: wantsTensors(options.return_tensors ?? options.return_tensor),
      single,
      attentionMask: options.return_attention_mask ?? true,
      typeIds: withTypes,
    });
  }

  *#encodeRow(
    text: string,
    pair: string | null,
    specials: boolean,
    withTypes: boolean,
    cut: Truncation | null,
  ): Steps<EncodedRow> {
    let a = yield* this.#encoder.encode(text);
    let b = pair === null ? null : yield* this.#encoder.encode(pair);
    if (cut !== null) {
      const reserved = specials ? specialTokenCount(this.#postProcessor, b !== null) : 0;
      const [first, second] = keptLengths(
        a.length,
        b?.length ?? null,
        Math.max(0, cut.max_length - reserved),
        cut.strategy,
      );
      const keep = (ids: readonly number[], length: number) =>
        this.truncation_side === 'left' ? ids.slice(ids.length - length) : ids.slice(0, length);
      a = keep(a, first);
      b = b && keep(b, second);
    }
    return postProcess(specials ? this.#postProcessor : PLAIN, a, b, withTypes);
  }

  #truncation({ truncation, max_length, padding }: TokenizerCallOptions): Truncation | null {
    if (max_length != null && (!Number.isInteger(max_length) || max_length < 0)) {
      throw invalidArgument('max_length', 'a non-negative integer', max_length);
    }
    let strategy = truncation;
    if (strategy == null && max_length != null && (padding ?? false) === false) {
      warnOnce(
        "Truncation was not explicitly activated but `max_length` is provided a specific value, please use `truncation=True` to explicitly truncate examples to max length. Defaulting to 'longest_first' truncation strategy.",
      );
      strategy = 'longest_first';
    }
    if (!strategy || strategy === 'do_not_truncate') return null;
    if (strategy === true) strategy = 'longest_first';
    if (!isTruncationStrategy(strategy)) {
      throw invalidArgument(
        'truncation',
        "true, false, 'longest_first', 'only_first' or 'only_second'",
        truncation,
      );
    }
    if (max_length != null) return { strategy, max_length };
    if (this.model_max_length <= LARGE) return { strategy, max_length: this.model_max_length };
    warnOnce(
      'Asking to truncate to max_length but no maximum length is provided and the model has no predefined maximum length. Default to no truncation.',
    );
    return null;
  }

  #padPlan({ padding, max_length, padding_side, pad_to_multiple_of }: TokenizerCallOptions) {
    const side = padding_side ?? this.padding_side;
    if (side !== 'left' && side !== 'right')
      throw invalidArgument('padding_side', "'left' or 'right'", side);
    if (!padding || padding === 'do_not_pad') return null;
    if (padding !== true && padding !== 'longest' && padding !== 'max_length') {
      throw invalidArgument('padding', "true, false, 'longest' or 'max_length'", padding);
    }
    const padId = this.pad_token_id;
    if (padId === null) {
      throw new InvalidArgumentError(
        'Asking to pad but the tokenizer does not have a padding token. Please select a token to use as `pad_token` `(tokenizer.pad_token = tokenizer.eos_token e.g.)`',
        { subject: 'pad_token' },
      );
    }
    const multiple = pad_to_multiple_of ?? 1;
    if (!Number.isInteger(multiple) || multiple < 1 || multiple > MAX_PAD_MULTIPLE) {
      throw invalidArgument(
        'pad_to_multiple_of',
        `an integer from 1 to ${MAX_PAD_MULTIPLE}`,
        pad_to_multiple_of,
      );
    }
    if (padding !== 'max_length') return { length: null, side, padId, multiple };
    const length = max_length ?? this.model_max_length;
    if (length > LARGE) {
      warnOnce(
        'Asking to pad to max_length but no maximum length is provided and the model has no predefined maximum length. Default to no padding.',
      );
      return null;
    }
    return { length, side, padId, multiple };
  }

  /** Ids of one text; special tokens are put in unless `add_special_tokens` is false. */
  encode(
    text: string,
    options: Omit<TokenizerCallOptions, 'return_tensors' | 'return_tensor'> = {},
  ): number[] {
    if (typeof text !== 'string') throw invalidArgument('text', 'a string', text);
    return this._call(text, options).input_ids as number[];
  }

  /**
   * As {@link encode}, in slices of a few milliseconds between which the event loop goes on.
   *
   * @param options those of `encode`, and `signal`.
   * @throws AbortError
   */
  async encode_async(
    text: string,
    options: Omit<TokenizerCallOptions, 'return_tensors' | 'return_tensor'> & AsyncOptions = {},
  ): Promise<number[]> {
    if (typeof text !== 'string') throw invalidArgument('text', 'a string', text);
    return (await this.call_async(text, options)).input_ids as number[];
  }

  /** Tokens of one text, without special tokens unless asked for. */
  tokenize(text: string, options: { add_special_tokens?: boolean } = {}): string[] {
    const ids = this.encode(text, { add_special_tokens: options.add_special_tokens ?? false });
    return this.convert_ids_to_tokens(ids);
  }

  /**
   * Text of ids, as transformers decodes them; a list of lists gives a list of texts. Ids that the
   * vocabulary does not have give nothing.
   *
   * @param ids one row: numbers, a tensor of one dimension (or of one row), or a single id; or lists of
   *   numbers.
   */
  decode(
    ids: Tensor | readonly number[] | readonly bigint[] | number,
    options?: DecodeOptions,
  ): string;
  decode(ids: readonly (readonly number[])[], options?: DecodeOptions): string[];
  decode(
    ids: TokenIds | number | readonly bigint[] | readonly (readonly number[])[],
    options: DecodeOptions = {},
  ): string | string[] {
    checkOptions('decode', options, DECODE_RULES);
    if (Array.isArray(ids) && Array.isArray(ids[0])) {
      return this.batch_decode(ids as TokenIds, options);
    }
    const rows = toRows(typeof ids === 'number' ? [ids] : (ids as TokenIds), 'token_ids');
    if (rows.length > 1) {
      throw new InvalidArgumentError('decode takes one row of ids', {
        subject: 'token_ids',
        found: `${rows.length} rows`,
        remedy: 'Use batch_decode.',
      });
    }
    const decoder = this.#decoder(false, options);
    let text = '';
    for (const token of this.#shown(rows[0] ?? [], options)) text += decoder.push(token);
    return text + decoder.finish();
  }

  /** Texts of rows of ids. */
  batch_decode(ids: TokenIds, options: DecodeOptions = {}): string[] {
    return toRows(ids, 'token_ids').map((row) => this.decode(row, options));
  }

  /**
   * Decodes token by token; for streamers. The joined pieces equal `decode` of all ids, and no piece has
   * a U+FFFD for a character that is not whole yet. One difference cannot be avoided: where a run of byte
   * tokens is no UTF-8, `decode` gives U+FFFD for all of it (as Hugging Face does), a stream only from the
   * wrong byte on, because the characters before it have been given out.
   */
  decodeStream(options: DecodeOptions = {}): DecodeStream {
    return new DecodeStream(this.#decoder(true, options), (ids) => this.#shown(ids, options));
  }

  #decoder(eager: boolean, options: DecodeOptions): TokenDecoder {
    const decoder = this.#makeDecoder(eager);
    const clean = options.clean_up_tokenization_spaces ?? this.clean_up_tokenization_spaces;
    return clean && this.#encoder.modelType !== 'BPE' ? new CleaningDecoder(decoder) : decoder;
  }

  #shown(ids: readonly number[], { skip_special_tokens }: DecodeOptions): string[] {
    const tokens: string[] = [];
    for (const id of ids) {
      if (!Number.isSafeInteger(id) || id < 0) {
        throw invalidArgument('token_ids', 'token ids: integers of 0 or more', id);
      }
      const token = this.#encoder.tokens[id];
      if (token !== undefined && !(skip_special_tokens && this.isSpecial(id))) tokens.push(token);
    }
    return tokens;
  }

  /** Id of a token, or ids of tokens; an unknown token gives unk's, or null where there is none. */
  convert_tokens_to_ids(token: string): number | null;
  convert_tokens_to_ids(tokens: readonly string[]): (number | null)[];
  convert_tokens_to_ids(tokens: string | readonly string[]): number | null | (number | null)[] {
    const one = (token: string) => {
      if (typeof token !== 'string') throw invalidArgument('tokens', 'a string', token);
      return this.#encoder.idOf(token) ?? this.unk_token_id;
    };
    if (typeof tokens !== 'string' && !Array.isArray(tokens)) {
      throw invalidArgument('tokens', 'a string or a list of strings', tokens);
    }
    // Not map, which would make a list as long as this one claims to be.
    return typeof tokens === 'string' ? one(tokens) : Array.from(tokens, one);
  }

  /** Token of an id, or tokens of ids; an id that the vocabulary does not have is left out of a list. */
  convert_ids_to_tokens(id: number): string | null;
  convert_ids_to_tokens(ids: TokenIds, options?: { skip_special_tokens?: boolean }): string[];
  convert_ids_to_tokens(
    ids: number | TokenIds,
    options: { skip_special_tokens?: boolean } = {},
  ): string | null | string[] {
    if (typeof ids === 'number') return this.#shown([ids], {})[0] ?? null;
    return this.#shown(toRows(ids, 'token_ids')[0] ?? [], options);
  }

  /** The text of the template that `apply_chat_template` would use. */
  get_chat_template(chat_template?: string | null, tools?: readonly unknown[] | null): string {
    return selectChatTemplate(this.chat_template, chat_template, tools != null);
  }

  /**
   * A conversation as the model was trained to read it; several conversations give a batch.
   *
   * @throws InvalidArgumentError if there is no template or no message.
   * @throws TokenizerError if the template is malformed or raises an exception.
   */
  apply_chat_template(
    conversation: readonly ChatMessage[],
    options: ChatTemplateOptions & { tokenize: false },
  ): string;
  apply_chat_template(
    conversation: readonly (readonly ChatMessage[])[],
    options: ChatTemplateOptions & { tokenize: false },
  ): string[];
  apply_chat_template(
    conversation: readonly ChatMessage[],
    options: ChatTemplateOptions & { return_dict: false } & WithTensors,
  ): Tensor;
  apply_chat_template(
    conversation: readonly ChatMessage[],
    options: ChatTemplateOptions & { return_dict: false },
  ): number[];
  apply_chat_template(
    conversation: readonly ChatMessage[],
    options: ChatTemplateOptions & WithTensors,
  ): BatchEncoding<Tensor>;
  apply_chat_template(
    conversation: readonly ChatMessage[],
    options?: ChatTemplateOptions,
  ): BatchEncoding<number[]>;
  apply_chat_template(
    conversation: readonly (readonly ChatMessage[])[],
    options?: ChatTemplateOptions,
  ): BatchEncoding;
  apply_chat_template(
    conversation: readonly ChatMessage[] | readonly (readonly ChatMessage[])[],
    options: ChatTemplateOptions = {},
  ): unknown {
    const {
      chat_template,
      add_generation_prompt = false,
      continue_final_message = false,
      tokenize = true,
      return_dict = true,
      tools = null,
      documents = null,
      padding,
      // Not cut unless asked, as in transformers: max_length alone is enough in other calls.
      truncation = false,
      max_length,
      return_tensors,
      return_tensor,
      tokenizer_kwargs,
      ...variables
    } = options;
    if (!isListOf(conversation, (item) => typeof item === 'object' && item !== null)) {
      throw invalidArgument('conversation', 'a list of messages, { role, content }', conversation);
    }
    if (conversation.length === 0) {
      throw new InvalidArgumentError(
        'Cannot apply chat template to an empty conversation. Provide at least one message.',
      );
    }
    if (continue_final_message && add_generation_prompt) {
      throw new InvalidArgumentError(
        'continue_final_message and add_generation_prompt are not compatible. Use continue_final_message when you want the model to continue the final message, and add_generation_prompt when you want to add a header that will prompt it to start a new assistant message instead.',
      );
    }
    const template = this.get_chat_template(chat_template, tools);
    const batched = Array.isArray(conversation[0]);
    const conversations = (batched ? conversation : [conversation]) as (readonly ChatMessage[])[];
    const rendered = conversations.map((messages) => {
      const text = renderChat(template, {
        ...this.special_tokens_map,
        ...variables,
        messages,
        tools,
        documents,
        add_generation_prompt,
      });
      return continue_final_message ? cutAfterFinalMessage(text, messages) : text;
    });
    if (!tokenize) return batched ? rendered : rendered[0];
    const encoding = this._call(batched ? rendered : (rendered[0] as string), {
      padding,
      truncation,
      max_length,
      add_special_tokens: false,
      return_tensors: return_tensors ?? return_tensor,
      ...tokenizer_kwargs,
    });
    return return_dict ? encoding : encoding.input_ids;
  }
}
