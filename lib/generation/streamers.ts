import { checkOptions, requireOptions } from '../check-options.js';
import { InvalidArgumentError, identify, invalidArgument, KomtError } from '../errors.js';
import { type TokenIds, toRows } from '../tensor.js';
import type { DecodeOptions, DecodeStream, PreTrainedTokenizer } from '../tokenizers/index.js';

/** What `generate()` hands to a streamer: the prompt's ids first, then each step's. */
export type StreamedIds = TokenIds | number | readonly bigint[] | readonly (readonly bigint[])[];

/**
 * Base class of streamers. `generate()` calls `put` with the prompt, `put` with each token, then `end`;
 * should it fail, `fail` in place of `end`.
 */
export abstract class BaseStreamer {
  /** Takes new ids; a promise makes `generate()` wait. */
  abstract put(value: StreamedIds): void | Promise<void>;
  /** The generation is over. */
  abstract end(): void | Promise<void>;
  /** The generation ended with this error. Nothing to do by default. */
  fail(_error: unknown): void {}
}

/** Options of {@link TextStreamer}. */
export interface TextStreamerOptions extends DecodeOptions {
  /** Leave the prompt out. Default false. */
  skip_prompt?: boolean;
  /** Leave special tokens out. Default false, as in transformers (transformers.js: true). */
  skip_special_tokens?: boolean;
  /** Receives each piece of text in place of standard output. Never called with ''. */
  callback_function?: ((text: string) => void) | null;
  /** Receives the ids of each `put` whose text is streamed, before their text is. */
  token_callback_function?: ((ids: number[]) => void) | null;
  /** More options of `decode`. */
  decode_kwargs?: DecodeOptions;
  /**
   * 'char' (default): a character as soon as it is whole. 'word': up to the last space, as transformers'
   * TextStreamer does.
   */
  flush?: 'char' | 'word';
}

const OPTIONS: readonly (keyof TextStreamerOptions)[] = [
  'skip_prompt',
  'skip_special_tokens',
  'clean_up_tokenization_spaces',
  'callback_function',
  'token_callback_function',
  'decode_kwargs',
  'flush',
];

/** Ideographs, after which transformers' TextStreamer does not wait for a space. */
const IDEOGRAPH =
  /[\u4E00-\u9FFF\u3400-\u4DBF\u{20000}-\u{2A6DF}\u{2A700}-\u{2CEAF}\uF900-\uFAFF\u{2F800}-\u{2FA1F}]$/u;

/** How much of `text` 'word' gives out. */
function wordEnd(text: string): number {
  return text.endsWith('\n') || IDEOGRAPH.test(text) ? text.length : text.lastIndexOf(' ') + 1;
}

/**
 * Prints text while it is generated. The pieces joined are `tokenizer.decode` of all ids streamed, spaces
 * and newlines included, and no piece holds a U+FFFD because a character is not whole yet; bytes that
 * never become one are U+FFFD (see `PreTrainedTokenizer.decodeStream`). With `skip_prompt`, bytes that
 * complete the prompt's last character are not shown. Override `on_finalized_text` to send the text elsewhere.
 */
export class TextStreamer extends BaseStreamer {
  readonly tokenizer: PreTrainedTokenizer;
  readonly skip_prompt: boolean;
  readonly #options: TextStreamerOptions;
  #next_tokens_are_prompt = true;
  #stream: DecodeStream | null = null;
  #held = '';

  constructor(tokenizer: PreTrainedTokenizer, options: TextStreamerOptions = {}) {
    super();
    if (typeof tokenizer?.decodeStream !== 'function') {
      throw invalidArgument('tokenizer', 'a tokenizer', tokenizer);
    }
    // Subclasses may have options of their own.
    requireOptions('a text streamer', options);
    if (new.target === TextStreamer) checkOptions('TextStreamer', options, { known: OPTIONS });
    const { flush = 'char' } = options;
    if (flush !== 'char' && flush !== 'word')
      throw invalidArgument('flush', "'char' or 'word'", flush);
    for (const name of ['callback_function', 'token_callback_function'] as const) {
      if (options[name] != null && typeof options[name] !== 'function') {
        throw invalidArgument(name, 'a function', options[name]);
      }
    }
    if (options.decode_kwargs != null) requireOptions('decode_kwargs', options.decode_kwargs);
    this.tokenizer = tokenizer;
    this.skip_prompt = options.skip_prompt ?? false;
    this.#options = options;
  }

  /** @throws InvalidArgumentError for more than one row. */
  put(value: StreamedIds): void {
    const rows = toRows(typeof value === 'number' ? [value] : (value as TokenIds), 'value');
    if (rows.length > 1) {
      throw new InvalidArgumentError('TextStreamer only supports batch size 1', {
        subject: 'streamer',
        remedy: 'Generate for one prompt at a time, or write a BaseStreamer that takes rows apart.',
      });
    }
    const ids = rows[0] ?? [];
    const isPrompt = this.#next_tokens_are_prompt;
    this.#next_tokens_are_prompt = false;
    this.#stream ??= this.tokenizer.decodeStream(this.#decodeOptions());
    if (isPrompt && this.skip_prompt) {
      this.#stream.skip(ids);
      return;
    }
    this.#options.token_callback_function?.(ids);
    this.#emit(this.#stream.push(ids), false);
  }

  /** Gives out what was held back and makes ready for the next generation. */
  end(): void {
    const rest = this.#stream?.finish() ?? '';
    this.#reset();
    this.#emit(rest, true);
  }

  /** Drops what was held back and makes ready for the next generation. */
  override fail(_error: unknown): void {
    this.#reset();
    this.#held = '';
  }

  /**
   * Receives text that will not change. Called for each piece, and at the end with `stream_end`, then
   * possibly with ''.
   */
  on_finalized_text(text: string, stream_end = false): void {
    const { callback_function } = this.#options;
    if (callback_function) {
      if (text !== '') callback_function(text);
    } else if (text !== '' || stream_end) {
      process.stdout.write(stream_end ? `${text}\n` : text);
    }
  }

  #decodeOptions(): DecodeOptions {
    const { skip_special_tokens, clean_up_tokenization_spaces, decode_kwargs } = this.#options;
    const options: DecodeOptions = { ...decode_kwargs };
    if (skip_special_tokens !== undefined) options.skip_special_tokens = skip_special_tokens;
    if (clean_up_tokenization_spaces !== undefined) {
      options.clean_up_tokenization_spaces = clean_up_tokenization_spaces;
    }
    return options;
  }

  #emit(delta: string, stream_end: boolean): void {
    let text = this.#held + delta;
    this.#held = '';
    if (!stream_end && this.#options.flush === 'word') {
      const end = wordEnd(text);
      this.#held = text.slice(end);
      text = text.slice(0, end);
    }
    if (text !== '' || stream_end) this.on_finalized_text(text, stream_end);
  }

  #reset(): void {
    this.#stream = null;
    this.#next_tokens_are_prompt = true;
  }
}

/** Nothing came for longer than the `timeout` of a {@link TextIteratorStreamer}. */
export class StreamTimeoutError extends KomtError {
  override readonly code: string = 'ERR_STREAM_TIMEOUT';
}
identify(StreamTimeoutError, 'StreamTimeoutError');

/** Options of {@link TextIteratorStreamer}. */
export interface TextIteratorStreamerOptions
  extends Omit<TextStreamerOptions, 'callback_function'> {
  /** Longest wait for a piece, in seconds (as in transformers). Default: no limit. */
  timeout?: number | null;
}

type Entry = { kind: 'text'; text: string } | { kind: 'end' } | { kind: 'error'; error: unknown };

/**
 * Text of a generation as an async iterable:
 *
 *     const streamer = new TextIteratorStreamer(tokenizer, { skip_prompt: true });
 *     const done = model.generate({ ...inputs, streamer });
 *     for await (const piece of streamer) process.stdout.write(piece);
 *     await done;
 *
 * Pieces are queued without limit, so that a slow reader never holds the generation up. An error of
 * `generate()` is thrown by the iterator after the pieces that came before it. Like transformers', one
 * streamer serves one reader, and may be used for the next generation after it has ended.
 */
export class TextIteratorStreamer extends TextStreamer implements AsyncIterable<string> {
  readonly timeout: number | null;
  readonly #queue: Entry[] = [];
  #wake: (() => void) | null = null;

  constructor(tokenizer: PreTrainedTokenizer, options: TextIteratorStreamerOptions = {}) {
    super(tokenizer, options);
    if (new.target === TextIteratorStreamer) {
      checkOptions('TextIteratorStreamer', options, { known: [...OPTIONS, 'timeout'] });
    }
    const { timeout = null } = options;
    if (timeout !== null && !(typeof timeout === 'number' && timeout > 0)) {
      throw invalidArgument('timeout', 'a positive number of seconds', timeout);
    }
    this.timeout = timeout;
  }

  override on_finalized_text(text: string, stream_end = false): void {
    if (text !== '') this.#add({ kind: 'text', text });
    if (stream_end) this.#add({ kind: 'end' });
  }

  override fail(error: unknown): void {
    super.fail(error);
    this.#add({ kind: 'error', error });
  }

  /** @throws StreamTimeoutError if nothing comes within `timeout`. */
  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    for (;;) {
      const entry = this.#queue.shift() ?? (await this.#next());
      if (entry.kind === 'end') return;
      if (entry.kind === 'error') throw entry.error;
      yield entry.text;
    }
  }

  #add(entry: Entry): void {
    this.#queue.push(entry);
    this.#wake?.();
  }

  async #next(): Promise<Entry> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      if (this.timeout !== null) timer = setTimeout(resolve, this.timeout * 1000);
    });
    this.#wake = null;
    clearTimeout(timer);
    const entry = this.#queue.shift();
    if (entry !== undefined) return entry;
    throw new StreamTimeoutError(`No text came for ${this.timeout} seconds`, {
      subject: 'timeout',
    });
  }
}
