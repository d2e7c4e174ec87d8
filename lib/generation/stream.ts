import { follow } from '../abort.js';
import { requireOptions } from '../check-options.js';
import { InvalidArgumentError } from '../errors.js';
import type { DecodeOptions, PreTrainedTokenizer } from '../tokenizers/index.js';
import { type GenerateTensorOptions, generate } from './generate.js';
import type { GenerationModel, GenerationStreamer } from './model.js';
import { TextStreamer, type TextStreamerOptions } from './streamers.js';

/** Options of {@link stream}: those of generate but the streamer's, and how text is shown. */
export interface StreamOptions
  extends Omit<GenerateTensorOptions, 'streamer' | 'tokenizer'>,
    DecodeOptions {
  /** Gives text; without it the stream gives token ids. */
  tokenizer?: PreTrainedTokenizer | null;
  /** Leave the prompt out. Default true, for a stream is read for the answer. */
  skip_prompt?: boolean;
  /** Leave special tokens out of the text. Default true. */
  skip_special_tokens?: boolean;
  /** As for TextStreamer. Default 'char'. */
  flush?: TextStreamerOptions['flush'];
}

/**
 * Hands values from a producer that waits for nobody to one reader. Ends, or throws, after what
 * was there before.
 */
class Channel<T> {
  private readonly values: T[] = [];
  private ended: { error?: unknown } | null = null;
  private wake: (() => void) | null = null;

  push(value: T): void {
    this.values.push(value);
    this.wake?.();
  }

  end(outcome: { error?: unknown } = {}): void {
    this.ended ??= outcome;
    this.wake?.();
  }

  async *read(): AsyncGenerator<T, void, void> {
    for (;;) {
      while (this.values.length > 0) yield this.values.shift() as T;
      if (this.ended !== null) {
        if ('error' in this.ended) throw this.ended.error;
        return;
      }
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      this.wake = null;
    }
  }
}

/** Sends new ids of one row into a channel. */
class TokenStreamer implements GenerationStreamer {
  private isPrompt = true;

  constructor(
    private readonly channel: { push(id: number): void },
    private readonly skip_prompt: boolean,
  ) {}

  put(value: number[][]): void {
    const skip = this.isPrompt && this.skip_prompt;
    this.isPrompt = false;
    if (value.length > 1) {
      throw new InvalidArgumentError('stream only supports batch size 1', {
        subject: 'input_ids',
        remedy: 'Stream each prompt on its own, or pass a streamer of your own to generate',
      });
    }
    if (!skip) for (const id of value[0] ?? []) this.channel.push(id);
  }

  end(): void {}
}

/** Sends text into a channel. */
class ChannelTextStreamer extends TextStreamer {
  constructor(
    private readonly channel: { push(text: string): void },
    tokenizer: PreTrainedTokenizer,
    options: TextStreamerOptions,
  ) {
    super(tokenizer, options);
  }

  override on_finalized_text(text: string): void {
    if (text !== '') this.channel.push(text);
  }
}

/**
 * Generates for one prompt and gives the answer while it comes: pieces of text where a tokenizer
 * is given, else token ids.
 *
 *     for await (const piece of stream(model, { ...inputs, tokenizer })) process.stdout.write(piece);
 *
 * Leaving the loop early ends the generation and frees what it had taken. Pieces are queued
 * without limit: a slow reader does not hold the generation up.
 *
 * @throws what generate throws, from the loop, after the pieces that came before.
 */
export function stream(
  model: GenerationModel,
  options: StreamOptions & { tokenizer: PreTrainedTokenizer },
): AsyncGenerator<string, void, void>;
export function stream(
  model: GenerationModel,
  options: StreamOptions & { tokenizer?: null },
): AsyncGenerator<number, void, void>;
export function stream(
  model: GenerationModel,
  options: StreamOptions,
): AsyncGenerator<string | number, void, void>;
export function stream(
  model: GenerationModel,
  options: StreamOptions = {},
): AsyncGenerator<string | number, void, void> {
  const left = new AbortController();
  const pieces = read(model, options, left);
  // A generator answers `return` only after the `next` before it, which may wait for the caller's code.
  const leave = (): void => left.abort();
  return {
    next: () => pieces.next(),
    return: (value) => {
      leave();
      return pieces.return(value);
    },
    throw: (error) => {
      leave();
      return pieces.throw(error);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
    async [Symbol.asyncDispose]() {
      await this.return();
    },
  };
}

async function* read(
  model: GenerationModel,
  options: StreamOptions,
  left: AbortController,
): AsyncGenerator<string | number, void, void> {
  requireOptions('stream', options);
  const {
    tokenizer = null,
    skip_prompt = true,
    skip_special_tokens = true,
    clean_up_tokenization_spaces,
    flush = 'char',
    signal,
    ...rest
  } = options;
  const channel = new Channel<string | number>();
  const streamer: GenerationStreamer =
    tokenizer === null
      ? new TokenStreamer(channel, skip_prompt)
      : new ChannelTextStreamer(channel, tokenizer, {
          skip_prompt,
          skip_special_tokens,
          clean_up_tokenization_spaces,
          flush,
        });
  const ended = new AbortController();
  const unfollow = follow(signal, ended);
  let leaving = false;
  const leave = (): void => {
    leaving = true;
    ended.abort();
  };
  if (left.signal.aborted) leave();
  left.signal.addEventListener('abort', leave);
  const done = generate(model, { ...rest, tokenizer, streamer, signal: ended.signal }).then(
    () => channel.end(),
    // Who leaves does not want to be told why it ended.
    (error: unknown) => channel.end(leaving ? {} : { error }),
  );
  try {
    yield* channel.read();
  } finally {
    leave();
    await done;
    unfollow();
  }
}
