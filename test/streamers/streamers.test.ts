import { afterEach, describe, expect, it, vi } from 'vitest';
import { InvalidArgumentError } from '../../lib/errors.js';
import {
  BaseStreamer,
  StreamTimeoutError,
  TextIteratorStreamer,
  TextStreamer,
  type TextStreamerOptions,
} from '../../lib/generation/streamers.js';
import { Tensor } from '../../lib/tensor.js';
import { AutoTokenizer, type PreTrainedTokenizer } from '../../lib/tokenizers/index.js';
import { answersOf, at, expected, KOMT_TINY } from '../tokenizers/fixtures.js';

const NAMES = [
  'spm-bpe',
  'llama-legacy',
  'llama-metaspace',
  'byte-level',
  'unigram-json',
  'komt-tiny',
];

const load = (name: string) =>
  AutoTokenizer.from_pretrained(name === 'komt-tiny' ? KOMT_TINY : at(name));

/** Pieces of a stream, the first ids as prompt. */
function pieces(
  tokenizer: PreTrainedTokenizer,
  ids: readonly number[],
  options: TextStreamerOptions = {},
  prompt: readonly number[] = [],
): string[] {
  const out: string[] = [];
  const streamer = new TextStreamer(tokenizer, {
    ...options,
    callback_function: (s) => out.push(s),
  });
  streamer.put([prompt]);
  for (const id of ids) streamer.put([id]);
  streamer.end();
  return out;
}

const bytes = (tokenizer: PreTrainedTokenizer, ...values: number[]) =>
  values.map(
    (value) =>
      tokenizer.convert_tokens_to_ids(
        `<0x${value.toString(16).toUpperCase().padStart(2, '0')}>`,
      ) as number,
  );

describe.each(NAMES)('200 Korean, emoji and mixed texts with %s', (name) => {
  it.each(['char', 'word'] as const)('flush: %s', async (flush) => {
    const tokenizer = await load(name);
    expect(expected.texts).toHaveLength(200);
    for (const text of expected.texts) {
      const ids = tokenizer.encode(text);
      for (const skip_special_tokens of [false, true]) {
        const out = pieces(tokenizer, ids, { flush, skip_special_tokens });
        expect(out.join(''), JSON.stringify(text)).toBe(
          tokenizer.decode(ids, { skip_special_tokens }),
        );
        expect(out.some((piece) => piece.includes('\uFFFD') || piece === '')).toBe(false);
      }
    }
  });
});

describe('ids that are none', () => {
  it.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60, '5', null, undefined, {}, 5n])(
    '%s is an InvalidArgumentError',
    async (id) => {
      for (const name of ['spm-bpe', 'byte-level', 'unigram-json']) {
        const tokenizer = await load(name);
        const stream = tokenizer.decodeStream();
        expect(() => stream.push(id as number)).toThrow(InvalidArgumentError);
        expect(() => stream.push([id as number])).toThrow(InvalidArgumentError);
        expect(() => stream.skip([id as number])).toThrow(InvalidArgumentError);
        // The stream serves on.
        expect(stream.push(tokenizer.encode('a')) + stream.finish()).toContain('a');
        if (typeof id !== 'bigint') {
          expect(() => tokenizer.decode([id as number])).toThrow(InvalidArgumentError);
        }
      }
    },
  );

  it('a DataView is no list of them', async () => {
    const stream = (await load('komt-tiny')).decodeStream();
    const view = new DataView(new ArrayBuffer(8)) as never;
    expect(() => stream.push(view)).toThrow(InvalidArgumentError);
  });

  it('beyond the vocabulary give nothing', async () => {
    for (const name of NAMES) {
      const tokenizer = await load(name);
      for (const id of [tokenizer.length, 2 ** 31, 2 ** 32, 2 ** 53 - 1]) {
        expect(tokenizer.decode([id])).toBe('');
        expect(tokenizer.decodeStream().push(id)).toBe('');
        expect(tokenizer.convert_ids_to_tokens(id)).toBe(null);
      }
    }
  });

  it('do not look names of JavaScript up', async () => {
    const tokenizer = await load('spm-bpe');
    expect(() => tokenizer.decode(['constructor'] as never)).toThrow(InvalidArgumentError);
    expect(() => tokenizer.convert_ids_to_tokens(-1)).toThrow(InvalidArgumentError);
  });
});

describe('characters', () => {
  it('come with their last byte', async () => {
    const tokenizer = await load('spm-bpe');
    const ids = bytes(tokenizer, ...Buffer.from('뷁😀'));
    const stream = tokenizer.decodeStream();
    expect(ids.map((id) => stream.push(id))).toEqual(['', '', '뷁', '', '', '', '😀']);
    expect(stream.finish()).toBe('');
  });

  it('that are ill-formed are U+FFFD, one a byte, as decode has them', async () => {
    const tokenizer = await load('spm-bpe');
    for (const bad of [
      [0xff],
      [0xea, 0xb0],
      [0x80, 0x80, 0x80],
      [0xed, 0xa0, 0x80],
      [0xc0, 0xaf],
      [0xf4, 0x90, 0x80, 0x80],
      [0xea, 0xea, 0xb0, 0x80],
      [0xf0, 0x9f, 0x98],
    ]) {
      const ids = [
        ...tokenizer.encode('가'),
        ...bytes(tokenizer, ...bad),
        ...tokenizer.encode('나'),
      ];
      expect(pieces(tokenizer, ids).join('')).toBe(tokenizer.decode(ids));
      expect(tokenizer.decode(bytes(tokenizer, ...bad))).toBe('\uFFFD'.repeat(bad.length));
    }
  });

  it('of a run that turns bad were given out already, and stay', async () => {
    const tokenizer = await load('spm-bpe');
    const ids = bytes(tokenizer, ...Buffer.from('뷁'), 0xff, 0x41);
    expect(pieces(tokenizer, ids)).toEqual(['뷁', '\uFFFD', '\uFFFD']);
    expect(tokenizer.decode(ids)).toBe('\uFFFD'.repeat(5));
  });

  it('in byte-level vocabularies stream as decode has them, whatever the ids', async () => {
    const tokenizer = await load('byte-level');
    for (const { ids, text } of answersOf('byte-level').decode) {
      expect(pieces(tokenizer, ids).join('')).toBe(text);
    }
  });

  it('a byte order mark survives', async () => {
    const tokenizer = await load('spm-bpe');
    const ids = bytes(tokenizer, 0xef, 0xbb, 0xbf);
    expect(tokenizer.decode(ids)).toBe('\uFEFF');
    expect(pieces(tokenizer, ids)).toEqual(['\uFEFF']);
  });
});

describe('a prompt', () => {
  it('is streamed unless skip_prompt', async () => {
    const tokenizer = await load('komt-tiny');
    const prompt = tokenizer.encode('질문');
    const answer = tokenizer.encode(' 답', { add_special_tokens: false });
    expect(pieces(tokenizer, answer, {}, prompt).join('')).toBe(
      tokenizer.decode([...prompt, ...answer]),
    );
    expect(pieces(tokenizer, answer, { skip_prompt: true }, prompt).join('')).toBe(
      tokenizer.decode(answer),
    );
  });

  it('that ends inside a character does not leak', async () => {
    for (const name of ['spm-bpe', 'byte-level']) {
      const tokenizer = await load(name);
      const [first, second, third, ...rest] =
        name === 'spm-bpe'
          ? bytes(tokenizer, ...Buffer.from('뷁쀍'))
          : tokenizer.encode('뷁쀍', { add_special_tokens: false });
      expect(rest).toHaveLength(3);
      const prompt = [...tokenizer.encode('가'), first, second] as number[];
      const show = (ids: readonly number[], skip_prompt: boolean) =>
        pieces(tokenizer, ids, { skip_prompt }, prompt);
      expect(show([third as number, ...rest], true)).toEqual(['쀍']);
      expect(show(rest, true)).toEqual(['쀍']);
      expect(show([], true)).toEqual([]);
      expect(show([third as number], false).join('')).toContain('가뷁');
    }
  });

  it('takes a leading space off the answer only where decode does', async () => {
    const tokenizer = await load('spm-bpe');
    const [, ...word] = tokenizer.encode('a');
    const half = bytes(tokenizer, 0xeb, 0xb7);
    expect(pieces(tokenizer, word, { skip_prompt: true }, [1]).join('')).toBe('a');
    const after = [...bytes(tokenizer, 0x81), ...word];
    expect(pieces(tokenizer, after, { skip_prompt: true }, half).join('')).toBe(' a');
  });

  it('come with an object of options, or none', async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(KOMT_TINY);
    for (const Streamer of [TextStreamer, TextIteratorStreamer]) {
      for (const options of [null, true, []]) {
        expect(() => new Streamer(tokenizer, options as TextStreamerOptions)).toThrow(
          'Expected an object for the options of a text streamer',
        );
      }
    }
  });

  it('may be a tensor, rows or a row; more than one row is refused', async () => {
    const tokenizer = await load('komt-tiny');
    const { input_ids } = tokenizer('가', { return_tensors: 'pt' });
    const out: string[] = [];
    const streamer = new TextStreamer(tokenizer, { callback_function: (s) => out.push(s) });
    streamer.put(input_ids);
    streamer.put(new Tensor('int64', [BigInt(tokenizer.encode('나').at(-1) as number)], [1]));
    streamer.end();
    expect(out.join('')).toContain('가');
    expect(() => streamer.put([[1], [2]])).toThrow('TextStreamer only supports batch size 1');
  });
});

describe('TextStreamer', () => {
  afterEach(() => vi.restoreAllMocks());

  it('prints to standard output, with a newline at the end', async () => {
    const tokenizer = await load('komt-tiny');
    const written: string[] = [];
    vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
      written.push(String(text));
      return true;
    });
    const streamer = new TextStreamer(tokenizer, { skip_special_tokens: true });
    streamer.put(tokenizer.encode('안녕'));
    streamer.end();
    vi.restoreAllMocks();
    expect(written.join('')).toBe('안녕\n');
  });

  it("waits for spaces with flush: 'word', and not after newlines or ideographs", async () => {
    const tokenizer = await load('byte-level');
    const show = (text: string) =>
      pieces(tokenizer, tokenizer.encode(text, { add_special_tokens: false }), { flush: 'word' });
    expect(show('하나 둘 셋')).toEqual(['하나 ', '둘 ', '셋']);
    expect(show('하나\n둘')).toEqual(['하나\n', '둘']);
    expect(show('漢字가')).toEqual(['漢', '字', '가']);
  });

  it('keeps spaces and newlines that transformers loses', async () => {
    const tokenizer = await load('spm-bpe');
    for (const text of ['  a\n\n  b\n c ', '\n a', '   ']) {
      const ids = tokenizer.encode(text, { add_special_tokens: false });
      expect(pieces(tokenizer, ids).join('')).toBe(text);
    }
  });

  it('hands ids to token_callback_function, those of a skipped prompt not', async () => {
    const tokenizer = await load('komt-tiny');
    const seen: number[][] = [];
    pieces(
      tokenizer,
      [300, 301],
      { skip_prompt: true, token_callback_function: (ids) => seen.push(ids) },
      [1],
    );
    expect(seen).toEqual([[300], [301]]);
  });

  it('calls an overridden on_finalized_text, last with stream_end', async () => {
    const tokenizer = await load('komt-tiny');
    const calls: [string, boolean][] = [];
    class Mine extends TextStreamer {
      override on_finalized_text(text: string, stream_end = false): void {
        calls.push([text, stream_end]);
      }
    }
    const streamer = new Mine(tokenizer, { decode_kwargs: { skip_special_tokens: true } });
    streamer.put(tokenizer.encode('가'));
    streamer.end();
    expect(calls).toEqual([
      ['가', false],
      ['', true],
    ]);
  });

  it('serves one generation after another, the failed ones too', async () => {
    const tokenizer = await load('spm-bpe');
    const out: string[] = [];
    const streamer = new TextStreamer(tokenizer, {
      skip_prompt: true,
      callback_function: (s) => out.push(s),
    });
    const [a, b, c] = bytes(tokenizer, ...Buffer.from('뷁')) as [number, number, number];
    for (const end of [() => streamer.fail(new Error('no')), () => streamer.end()]) {
      streamer.put([[1]]);
      for (const id of [a, b, c, a]) streamer.put([id]);
      end();
    }
    expect(out).toEqual(['뷁', '뷁', '\uFFFD']);
  });

  it('names a wrong option', async () => {
    const tokenizer = await load('komt-tiny');
    expect(() => new TextStreamer(tokenizer, { flush: 'line' as 'word' })).toThrow(
      "Expected 'char' or 'word' for flush but received line of type string",
    );
    expect(() => new TextStreamer({} as PreTrainedTokenizer)).toThrow(/Expected a tokenizer/);
    for (const name of ['callback_function', 'token_callback_function', 'decode_kwargs']) {
      const make = () => new TextStreamer(tokenizer, { [name]: 3 });
      expect(make).toThrow(name);
      expect(make).toThrow(InvalidArgumentError);
    }
  });
});

describe('TextIteratorStreamer', () => {
  const collect = async (streamer: AsyncIterable<string>) => {
    const out: string[] = [];
    for await (const piece of streamer) out.push(piece);
    return out;
  };

  it('gives the pieces as they come, and serves again', async () => {
    const tokenizer = await load('komt-tiny');
    const streamer = new TextIteratorStreamer(tokenizer, {
      skip_prompt: true,
      skip_special_tokens: true,
    });
    for (let run = 0; run < 2; run++) {
      const reading = collect(streamer);
      streamer.put([[1, 2]]);
      for (const id of tokenizer.encode('서울 서울')) {
        streamer.put([id]);
        await Promise.resolve();
      }
      streamer.end();
      const out = await reading;
      expect(out.join('')).toBe('서울 서울');
      expect(out.length).toBeGreaterThan(1);
    }
  });

  it('queues without a reader', async () => {
    const tokenizer = await load('komt-tiny');
    const streamer = new TextIteratorStreamer(tokenizer, { skip_special_tokens: true });
    streamer.put([tokenizer.encode('가나')]);
    streamer.end();
    expect((await collect(streamer)).join('')).toBe('가나');
  });

  it("throws generate's own error after the pieces before it", async () => {
    const tokenizer = await load('komt-tiny');
    const streamer = new TextIteratorStreamer(tokenizer, { skip_special_tokens: true });
    const error = new Error('out of memory');
    streamer.put([tokenizer.encode('가')]);
    setTimeout(() => streamer.fail(error), 1);
    const out: string[] = [];
    const reading = (async () => {
      for await (const piece of streamer) out.push(piece);
    })();
    await expect(reading).rejects.toBe(error);
    expect(out.join('')).toBe('가');
  });

  it('gives up after timeout seconds', async () => {
    const tokenizer = await load('komt-tiny');
    const streamer = new TextIteratorStreamer(tokenizer, { timeout: 0.02 });
    await expect(collect(streamer)).rejects.toBeInstanceOf(StreamTimeoutError);
    expect(() => new TextIteratorStreamer(tokenizer, { timeout: 0 })).toThrow(
      /positive number of seconds/,
    );
  });
});

describe('cost', () => {
  it('of a token does not grow with the text', async () => {
    const tokenizer = await load('komt-tiny');
    const id = tokenizer.encode('가나다').at(-1) as number;
    const stream = tokenizer.decodeStream();
    const time = (count: number) => {
      const start = performance.now();
      for (let i = 0; i < count; i++) stream.push(id);
      return performance.now() - start;
    };
    time(20_000);
    const early = time(20_000);
    time(200_000);
    // Decoding everything again would make these 12 times as slow; a busy machine does not.
    expect(time(20_000)).toBeLessThan(6 * early + 20);
  });
});

it('BaseStreamer can be a plain subclass', () => {
  const seen: unknown[] = [];
  class Mine extends BaseStreamer {
    put(value: unknown): void {
      seen.push(value);
    }
    end(): void {
      seen.push('end');
    }
  }
  const mine = new Mine();
  mine.put([1]);
  mine.end();
  mine.fail(new Error('ignored'));
  expect(seen).toEqual([[1], 'end']);
});
