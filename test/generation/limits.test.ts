import { describe, expect, it } from 'vitest';
import { generate } from '../../lib/generation/generate.js';
import { forward, loglikelihood } from '../../lib/generation/scoring.js';
import {
  applyPromptTemplate,
  EncoderRepetitionPenaltyLogitsProcessor,
  ForcedEOSTokenLogitsProcessor,
  type GenerateOptions,
  GenerationConfig,
  InvalidArgumentError,
  LogitsProcessorList,
  Tensor,
  UnbatchedClassifierFreeGuidanceLogitsProcessor,
} from '../../lib/index.js';
import { hashModel } from './fake-engine.js';
import { collectWarnings } from './support.js';

collectWarnings();

const guidance = (context: object) =>
  new UnbatchedClassifierFreeGuidanceLogitsProcessor(
    2,
    hashModel().openSession() as never,
    context as never,
  );

const run = (options: object) =>
  generate(hashModel(), { input_ids: [[1, 5]], max_new_tokens: 2, ...options } as GenerateOptions);

describe('numbers beyond what can work are refused', () => {
  it.each<[string, number]>([
    ['num_beams', 65_535],
    ['num_return_sequences', 65_535],
    ['max_length', 2 ** 26],
    ['max_new_tokens', 2 ** 26],
    ['min_length', 2 ** 26],
    ['min_new_tokens', 2 ** 26],
    ['top_k', 2 ** 31 - 1],
    ['no_repeat_ngram_size', 2 ** 26],
    ['prompt_lookup_num_tokens', 1024],
    ['max_matching_ngram_size', 2 ** 26],
    ['num_assistant_tokens', 1024],
  ])('%s above %d', async (name, most) => {
    for (const value of [most + 1, 2 ** 31, 2 ** 53]) {
      if (value <= most) continue;
      const fields = { do_sample: true, [name]: value };
      await expect(run(fields)).rejects.toBeInstanceOf(InvalidArgumentError);
      await expect(run(fields)).rejects.toThrow(`\`${name}\` is larger than can work`);
      expect(() => new GenerationConfig(fields)).toThrow(InvalidArgumentError);
      expect(() => GenerationConfig.from_json(JSON.stringify(fields))).toThrow(`at most ${most}`);
    }
    expect(
      () => new GenerationConfig({ do_sample: true, num_beams: 65_535, [name]: most }),
    ).not.toThrow();
  });

  it('output_logprobs', async () => {
    await expect(run({ output_logprobs: 1025 })).rejects.toThrow('at most 1024');
  });

  it('also where a model says them', async () => {
    const model = hashModel();
    model.generation_config = { do_sample: true, num_return_sequences: 2 ** 31 };
    await expect(generate(model, { input_ids: [1] })).rejects.toThrow('at most 65535');
    expect(model.sessions).toHaveLength(0);
  });
});

describe('lists beyond what can work are refused before they are looked at', () => {
  const endless = new Array(2 ** 32 - 1);
  it.each([
    'eos_token_id',
    'forced_eos_token_id',
    'suppress_tokens',
    'begin_suppress_tokens',
    'bad_words_ids',
    'sequence_bias',
    'stop_strings',
    'exponential_decay_length_penalty',
  ])('%s', async (name) => {
    const start = performance.now();
    await expect(run({ [name]: endless })).rejects.toThrow(`\`${name}\` has more entries`);
    expect(() => new GenerationConfig({ [name]: endless })).toThrow(InvalidArgumentError);
    expect(performance.now() - start).toBeLessThan(1000);
  });

  it('and so are the tokens and characters in them', async () => {
    const words = Array.from({ length: 3 }, () => new Array(2 ** 19).fill(1));
    await expect(run({ bad_words_ids: words })).rejects.toThrow('`bad_words_ids` has more tokens');
    const bias = words.map((ids) => [ids, 1]);
    await expect(run({ sequence_bias: bias })).rejects.toThrow('`sequence_bias` has more tokens');
    const stop_strings = ['a'.repeat(2 ** 20), 'b'];
    await expect(run({ stop_strings })).rejects.toThrow('`stop_strings` has more characters');
  });

  it('processors without end', async () => {
    function* endless() {
      for (;;) yield () => false;
    }
    await expect(run({ stopping_criteria: endless() })).rejects.toThrow('at most 1024');
    expect(() => new LogitsProcessorList(endless() as never)).toThrow('at most 1024');
  });

  const holes = [endless] as number[][];
  it.each<[string, () => unknown, string]>([
    ['a prompt', () => new EncoderRepetitionPenaltyLogitsProcessor(2, holes), 'more tokens'],
    [
      'prompts together',
      () => new EncoderRepetitionPenaltyLogitsProcessor(2, [[1], ...holes]),
      'more tokens',
    ],
    [
      'a prompt of holes that is short enough',
      () => new EncoderRepetitionPenaltyLogitsProcessor(2, [new Array(2 ** 26)]),
      'ids from 0',
    ],
    ['end tokens', () => new ForcedEOSTokenLogitsProcessor(2, endless), 'more tokens'],
    [
      'the prompts of guidance',
      () => guidance({ prompts: endless, copies: 1, promptLength: 1 }),
      'more rows',
    ],
    ['a row of a tensor', () => Tensor.fromRows(holes), 'integers'],
    ['data of a tensor', () => new Tensor('int64', endless, [2 ** 32 - 1]), 'integers'],
    ['words of a configuration', () => new GenerationConfig({ bad_words_ids: holes }), 'values'],
    ['a conversation', () => applyPromptTemplate('komt', endless), 'a list of messages'],
  ])('%s', (_, call, text) => {
    const start = performance.now();
    expect(call).toThrow(text);
    expect(call).toThrow(InvalidArgumentError);
    expect(performance.now() - start).toBeLessThan(1000);
  });

  it('a prompt that is given several times counts, and is copied, once', () => {
    const prompt = new Array(2 ** 20).fill(1);
    const rows = new Array(1000).fill(prompt);
    const { encoder_input_ids } = new EncoderRepetitionPenaltyLogitsProcessor(2, rows);
    expect(new Set(encoder_input_ids).size).toBe(1);
    expect(encoder_input_ids[0]).not.toBe(prompt);
    expect(encoder_input_ids).toHaveLength(1000);
  });
});

describe('guidance', () => {
  it.each<[string, object, string]>([
    ['copies', { prompts: [[1]], copies: -1, promptLength: 1 }, 'from 1 to 65535 for copies'],
    ['a length', { prompts: [[1]], copies: 1, promptLength: 0.5 }, 'for promptLength'],
    ['a prompt', { prompts: [null], copies: 1, promptLength: 1 }, 'for prompts'],
  ])('refuses %s that cannot be', (_, context, text) => {
    expect(() => guidance(context)).toThrow(text);
    expect(() => guidance(context)).toThrow(InvalidArgumentError);
  });

  it('needs a prompt for each of the rows', async () => {
    const processor = guidance({ prompts: [[1]], copies: 1, promptLength: 1 });
    const rows = { input_ids: [[1], [5]], logits_processor: processor };
    await expect(run(rows)).rejects.toThrow('for prompts but received 1');
  });
});

describe('what is too much together is refused before a session is opened', () => {
  const big = (options: object, vocab_size = 32) => {
    const model = hashModel({ eos_token_id: 2 }, { vocab_size });
    return { model, answer: generate(model, { max_new_tokens: 2, ...options } as GenerateOptions) };
  };
  it.each<[string, object, number, string]>([
    ['rows', { input_ids: Array.from({ length: 200_000 }, () => [1]) }, 32, 'more rows'],
    ['prompts times beams', { input_ids: [[1], [1]], num_beams: 40_000 }, 32, 'more rows'],
    ['rows times vocabulary', { input_ids: [[1]], num_beams: 5000 }, 32_000, 'more scores'],
    [
      'prompts times return sequences',
      { input_ids: [new Array(5000).fill(1)], do_sample: true, num_return_sequences: 20_000 },
      32,
      'more prompt tokens',
    ],
    [
      'proposals times vocabulary',
      { input_ids: [1], prompt_lookup_num_tokens: 1024 },
      2 ** 18,
      'more scores',
    ],
  ])('%s', async (_, options, vocab_size, text) => {
    const { model, answer } = big(options, vocab_size);
    await expect(answer).rejects.toThrow(text);
    await expect(answer).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(model.sessions).toHaveLength(0);
  });

  it('candidates of beams, each of which has its ids', async () => {
    const model = hashModel({}, { max_length: 2 ** 27 });
    const answer = generate(model, { input_ids: [1], num_beams: 4000, max_new_tokens: 2 ** 20 });
    await expect(answer).rejects.toThrow('tokens in all candidates');
  });

  it('logits of a forward', async () => {
    const model = hashModel({}, { vocab_size: 2 ** 20 });
    await expect(forward(model, { input_ids: new Array(1025).fill(1) })).rejects.toThrow('logits');
  });

  it('tensors', () => {
    expect(() => new Tensor('float32', [], [2 ** 31, 2 ** 31, 0])).toThrow('at most 4294967295');
    expect(() => new Tensor('float32', [], [2 ** 30, 0]).tolist()).toThrow('Read `data`');
    expect(() => new Tensor('float32', [1], new Array(65).fill(1))).toThrow('at most 64');
  });
});

it('a continuation of any length is scored in parts', async () => {
  const model = hashModel();
  const ids = Array.from({ length: 1200 }, (_, i) => 3 + (i % 20));
  const [long] = await loglikelihood(model, [{ context: [1], continuation: ids }]);
  const { logits } = await forward(hashModel(), { input_ids: [[1, ...ids]] });
  let sum = 0;
  ids.forEach((id, i) => {
    const row = (logits[0]?.[i]?.data ?? new Float32Array()) as Float32Array;
    sum += (row[id] as number) - Math.log(row.reduce((total, x) => total + Math.exp(x), 0));
  });
  expect(long?.sum).toBeCloseTo(sum, 1);
  expect(model.session.calls.forward).toBe(3);
});
