import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  GenerationConfig,
  InvalidArgumentError,
  type PreTrainedModel,
  type PreTrainedTokenizer,
} from '../../lib/index.js';
import { KOMT_TINY } from '../tokenizers/fixtures.js';

/** Calls as people write them who come from Python. */
let model: PreTrainedModel;
let tokenizer: PreTrainedTokenizer;
beforeAll(async () => {
  model = await AutoModelForCausalLM.from_pretrained(KOMT_TINY, { device_map: 'cpu' });
  tokenizer = await AutoTokenizer.from_pretrained(KOMT_TINY);
});
afterAll(() => model.dispose());
const prompt = '### instruction: 안녕\n\n### Response:';

describe('the model', () => {
  it('can be called, with what the tokenizer gives or with ids alone', async () => {
    const inputs = tokenizer(prompt, { return_tensors: 'pt' });
    const { logits } = await model.forward(inputs);
    expect(logits.dims).toEqual([1, inputs.input_ids.dims[1], 640]);
    expect((await model(inputs)).logits.data).toEqual(logits.data);
    expect((await model(inputs.input_ids)).logits.data).toEqual(logits.data);
    expect(model.eval().to('cpu')).toBe(model);
  });

  it('says that it cannot be moved', () => {
    expect(() => model.to('cuda')).toThrow(/cannot be moved.*expected cpu, found cuda.*device_map/);
    expect(() => model.to('cuda')).toThrow(InvalidArgumentError);
  });

  it('refuses options of forward that would be dropped', async () => {
    const inputs = tokenizer(prompt, { return_tensors: 'pt' });
    const labels = { ...inputs, labels: inputs.input_ids };
    await expect(model.forward(labels)).rejects.toThrow(/`labels`.*loglikelihood/);
  });

  it('refuses arguments of generate in Python’s order', async () => {
    const inputs = tokenizer(prompt, { return_tensors: 'pt' });
    const call = model.generate.bind(model) as (...args: unknown[]) => Promise<unknown>;
    await expect(call(inputs, { max_new_tokens: 2 })).rejects.toThrow(/found 2 arguments.*Write/);
  });

  it('has compute_transition_scores', async () => {
    const inputs = tokenizer(prompt, { return_tensors: 'pt' });
    const out = await model.generate({
      ...inputs,
      max_new_tokens: 3,
      do_sample: false,
      return_dict_in_generate: true,
      output_scores: true,
    });
    const scores = model.compute_transition_scores(out.sequences, out.scores ?? [], null, true);
    expect(scores.dims).toEqual([1, 3]);
    for (const score of scores.data) expect(score).toBeLessThanOrEqual(0);
    const asOptions = { normalize_logits: true } as unknown as null;
    expect(() =>
      model.compute_transition_scores(out.sequences, out.scores ?? [], asOptions),
    ).toThrow(/a Tensor or null for beam_indices/);
  });
});

it('new tokens are what follows the prompt', async () => {
  const inputs = tokenizer(prompt, { return_tensors: 'pt' });
  const out = await model.generate({ ...inputs, max_new_tokens: 6, do_sample: false });
  const [answer] = tokenizer.batch_decode(
    out.slice(null, [inputs.input_ids.dims[1] as number, null]),
  );
  expect(answer).not.toBe('');
  expect(tokenizer.decode(out[0] as never)).toBe(`<s> ${prompt}${answer}`);
});

it('a generation configuration has its name for JSON', () => {
  const config = new GenerationConfig({ do_sample: true, top_p: 0.5 });
  expect(JSON.parse(config.to_json_string())).toEqual({ do_sample: true, top_p: 0.5 });
});
