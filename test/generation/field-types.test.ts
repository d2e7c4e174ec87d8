import { describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../../lib/errors.js';
import { GenerationConfig } from '../../lib/generation/configuration.js';
import { generate } from '../../lib/generation/generate.js';
import { LogitsProcessor } from '../../lib/generation/logits-processor.js';
import type { GenerateOptions } from '../../lib/generation/options.js';
import { StoppingCriteria } from '../../lib/generation/stopping-criteria.js';
import { stream } from '../../lib/generation/stream.js';
import { Tensor } from '../../lib/tensor.js';
import { hashModel } from './fake-engine.js';
import { collectWarnings } from './support.js';

const warnings = collectWarnings();

/** Generates a little with options that TypeScript would refuse. */
const run = (options: unknown) =>
  generate(hashModel(), { input_ids: [1, 5], max_new_tokens: 2, ...(options as GenerateOptions) });

describe('fields of the wrong type are refused', () => {
  it.each<[object, string]>([
    [{ do_sample: 1 }, 'Expected true or false for do_sample but received 1 of type number'],
    [{ return_dict_in_generate: 'yes' }, 'Expected true or false for return_dict_in_generate'],
    [{ eos_token_id: '</s>' }, 'Expected a token id or a list of them for eos_token_id'],
    [{ suppress_tokens: 5 }, 'Expected a list of token ids for suppress_tokens'],
    [{ stop_strings: 5 }, 'Expected a text or a list of texts for stop_strings'],
    [{ no_repeat_ngram_size: -1 }, 'Expected an integer >= 0 for no_repeat_ngram_size'],
    [{ max_time: '1' }, 'Expected a finite number for max_time but received 1 of type string'],
    [{ length_penalty: Number.NaN, num_beams: 2 }, 'for length_penalty but received NaN'],
    [{ exponential_decay_length_penalty: [1] }, 'Expected a list of two numbers'],
  ])('%j', async (options, message) => {
    await expect(run(options)).rejects.toThrow(message);
    await expect(run(options)).rejects.toBeInstanceOf(InvalidArgumentError);
    expect(() => new GenerationConfig(options)).toThrow(message);
  });

  it('but null is unset whatever the type', () => {
    expect(new GenerationConfig({ do_sample: null, eos_token_id: null }).to_dict()).toEqual({});
  });
});

describe('arguments of generate are refused', () => {
  it.each<[string, object, string]>([
    ['a streamer without put', { streamer: {} }, 'an object with put() and end() for streamer'],
    ['a tokenizer that is none', { tokenizer: 5 }, "the model's tokenizer for tokenizer"],
    ['a signal that is none', { signal: 5 }, 'an AbortSignal for signal but received 5'],
    [
      'a processor without _call',
      {
        logits_processor:
          new (class Quiet extends (LogitsProcessor as never as typeof Object) {})(),
      },
      "Quiet has no method _call. Define `_call` with the arguments that Python's `__call__` has",
    ],
    [
      'a criterion without _call',
      {
        stopping_criteria:
          new (class Never extends (StoppingCriteria as never as typeof Object) {})(),
      },
      'Never has no method _call',
    ],
    [
      'a processor that changes the width',
      { logits_processor: () => [new Float32Array(3)] },
      'is malformed: expected a Float32Array of',
    ],
  ])('%s', async (_, options, message) => {
    await expect(run(options)).rejects.toThrow(message);
    await expect(run(options)).rejects.toBeInstanceOf(InvalidArgumentError);
  });

  it('that nobody reads, functions too', async () => {
    await expect(run({ logits_procesor: () => [] })).rejects.toThrow('`logits_processor`');
    await expect(run({ assistant_model: () => {} })).rejects.toThrow('prompt_lookup_num_tokens');
    await expect(run({ penalty_alpha: 0.6 })).rejects.toThrow('`penalty_alpha` is not supported');
    await expect(run({ to: () => {} })).resolves.toBeInstanceOf(Tensor);
  });

  it('as ids in place of options', async () => {
    const ids = new Tensor('int64', [1, 5], [1, 2]);
    const call = (options: unknown) => generate(hashModel(), options as GenerateOptions);
    await expect(call(ids)).rejects.toThrow('Write generate({ input_ids, ...options })');
    await expect(call(null)).rejects.toThrow('Expected an object for the options of generate');
    const started = process.cpuUsage();
    const list = new Array(3e6).fill(1) as never;
    await expect(stream(hashModel(), list).next()).rejects.toThrow('the options of stream');
    expect(process.cpuUsage(started).user).toBeLessThan(1e6);
  });

  it('as fields set on a configuration that does not have them', async () => {
    const config = new GenerationConfig({ max_new_tokens: 2 });
    Object.assign(config, { temprature: 0.5 });
    await expect(run({ generation_config: config })).rejects.toThrow('Did you mean `temperature`');
    const model = hashModel();
    model.generation_config = Object.assign(new GenerationConfig(), { max_new_token: 5 });
    await expect(generate(model, { input_ids: [1] })).rejects.toThrow('`max_new_tokens`');
  });
});

it('an empty text and its empty mask start with the bos token', async () => {
  const options = { bos_token_id: 1, input_ids: [[]], attention_mask: [[]] };
  const answer = await run(options);
  expect((answer as Tensor).tolist()).toEqual(
    ((await run({ ...options, input_ids: [1], attention_mask: null })) as Tensor).tolist(),
  );
  await expect(run({ attention_mask: [] })).rejects.toThrow('attention_mask has another shape');
});

it('a text beyond what the model was made for brings one warning', async () => {
  const model = hashModel();
  Object.assign(model.config, { max_position_embeddings: 8 });
  const reminder = () => warnings.filter((text) => text.includes('predefined maximum length (8)'));
  await generate(model, { input_ids: [1, 5], max_new_tokens: 7, eos_token_id: null });
  expect(reminder()).toHaveLength(0);
  await generate(model, { input_ids: new Array(9).fill(5), max_new_tokens: 1 });
  expect(reminder()).toHaveLength(1);
  await generate(model, { input_ids: [1, 5], max_new_tokens: 9, eos_token_id: null });
  expect(reminder()).toHaveLength(1);
});
