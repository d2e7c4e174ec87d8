import { describe, expect, it } from 'vitest';
import {
  AutoConfig,
  AutoModelForCausalLM,
  AutoTokenizer,
  InvalidArgumentError,
  TextIteratorStreamer,
  TextStreamer,
} from '../lib/index.js';
import { KOMT_TINY } from './tokenizers/fixtures.js';

/** The error that `call` ends with, which must be an InvalidArgumentError. */
async function refusal(call: () => unknown): Promise<string> {
  try {
    await call();
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidArgumentError);
    return (error as Error).message;
  }
  return expect.fail('nothing was refused');
}

const load = (options: object) => AutoModelForCausalLM.from_pretrained(KOMT_TINY, options);

describe('options of from_pretrained', () => {
  it.each<[object, RegExp]>([
    [{ devicemap: 'cpu' }, /no option `devicemap`.*Did you mean `device_map`/],
    [{ device: 'cuda' }, /no option `device`.*device_map: "cuda"/],
    [{ use_auth_token: 'x' }, /`token`/],
    [{ load_in_4bit: true }, /`load_in_4bit` of .* is not supported.*float16/],
    [{ quantization_config: { load_in_8bit: true } }, /`quantization_config` of .* not supported/],
    [{ revision: 5 }, /a text for revision but received 5 of type number/],
    [{ cache_dir: 5 }, /a text for cache_dir/],
    [{ progress_callback: 'bar' }, /a function for progress_callback but received bar/],
    [{ config: { hidden_size: 8 } }, /a PretrainedConfig.* for config/],
    [{ signal: 5 }, /an AbortSignal for signal/],
    [{ force_download: true }, /`force_download` of .* is not supported/],
  ])('%j is refused', async (options, message) => {
    expect(await refusal(() => load(options))).toMatch(message);
  });

  it('must be an object', async () => {
    expect(await refusal(() => load('cuda' as unknown as object))).toMatch(/an object.*cuda/);
    expect(await refusal(() => load(null as unknown as object))).toMatch(/an object.*null/);
  });

  it('of Python that have no meaning here are let through', async () => {
    const options = {
      trust_remote_code: true,
      low_cpu_mem_usage: true,
      attn_implementation: 'sdpa',
      load_in_8bit: false,
      quantization_config: null,
    };
    const model = await load(options);
    await model.dispose();
    expect((await AutoConfig.from_pretrained(KOMT_TINY, options as object)).num_hidden_layers).toBe(
      4,
    );
  });

  it('may be one object for model and tokenizer', async () => {
    const options = { device_map: 'cpu', dtype: 'float32', num_threads: 1 };
    const tokenizer = await AutoTokenizer.from_pretrained(KOMT_TINY, options as object);
    expect(tokenizer.eos_token_id).toBe(2);
  });

  it('of the tokenizer are refused where they do not exist', async () => {
    const options = { paddingside: 'left' };
    expect(
      await refusal(() => AutoTokenizer.from_pretrained(KOMT_TINY, options as object)),
    ).toMatch(/no option `paddingside`.*`padding_side`/);
  });
});

describe('options of a tokenizer', () => {
  it('that do not exist are refused, with the nearest name', async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(KOMT_TINY);
    const call = (options: unknown) => () => tokenizer('a', options as object);
    expect(await refusal(call({ paddding: true }))).toMatch(/Did you mean `padding`/);
    expect(await refusal(call({ return_offsets_mapping: true }))).toMatch(/is not supported/);
    expect(await refusal(call(null))).toMatch(/an object/);
    expect(await refusal(() => tokenizer.decode([5], { skip_special: true } as object))).toMatch(
      /Did you mean `skip_special_tokens`/,
    );
    expect(tokenizer('a', { verbose: false, stride: 0 } as object).input_ids).toEqual([1, 420]);
  });
});

it('a conversation must be messages', async () => {
  const tokenizer = await AutoTokenizer.from_pretrained(KOMT_TINY);
  const apply = (conversation: unknown) => () => tokenizer.apply_chat_template(conversation as []);
  expect(await refusal(apply('hello'))).toMatch(/a list of messages.* received hello/);
  expect(await refusal(apply(['hello']))).toMatch(/a list of messages/);
  expect(await refusal(apply([]))).toMatch(/empty conversation/);
});

describe('options of a streamer', () => {
  it('that do not exist are refused', async () => {
    const tokenizer = await AutoTokenizer.from_pretrained(KOMT_TINY);
    expect(await refusal(() => new TextStreamer(tokenizer, true as unknown as object))).toMatch(
      /an object.*true/,
    );
    const wrong = { skipPrompt: true } as object;
    expect(await refusal(() => new TextStreamer(tokenizer, wrong))).toMatch(/`skip_prompt`/);
    expect(await refusal(() => new TextIteratorStreamer(tokenizer, wrong))).toMatch(/skip_prompt/);
    class Own extends TextStreamer {}
    expect(new Own(tokenizer, { mine: 1 } as object).skip_prompt).toBe(false);
  });
});
