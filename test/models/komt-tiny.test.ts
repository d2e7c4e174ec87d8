import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { main as modelCard } from '../../examples/model-card.js';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type PreTrainedModel,
  type PreTrainedTokenizer,
  TextStreamer,
} from '../../lib/index.js';

const folder = path.join(import.meta.dirname, '../../models/komt-tiny');
const read = (file: string) => JSON.parse(readFileSync(path.join(folder, file), 'utf8'));
const pairs: { instruction: string; response: string }[] = read('seed-qa.json');

describe('komt-tiny, the demonstration model', () => {
  let model: PreTrainedModel;
  let tokenizer: PreTrainedTokenizer;
  beforeAll(async () => {
    model = await AutoModelForCausalLM.from_pretrained(folder, { device_map: 'cpu' });
    tokenizer = await AutoTokenizer.from_pretrained(folder);
  });
  afterAll(() => model.dispose());
  const prompt = (question: string) => `### instruction: ${question}\n\n### Response:`;

  it.each(pairs.map((p) => [p.instruction, p.response]))(
    'recites the answer to %s',
    async (question, answer) => {
      const chunks: string[] = [];
      const streamer = new TextStreamer(tokenizer, {
        skip_prompt: true,
        skip_special_tokens: true,
        callback_function: (text: string) => chunks.push(text),
      });
      const inputs = tokenizer(prompt(question), { return_tensors: 'pt' });
      const ids = await model.generate({ ...inputs, do_sample: false, streamer });
      const text = tokenizer.decode(ids.at(0) as never, { skip_special_tokens: true });
      expect(text.slice(prompt(question).length).trim()).toBe(answer);
      expect(chunks.join('').trim()).toBe(answer);
      expect(chunks.every((chunk) => !chunk.includes('\uFFFD'))).toBe(true);
    },
  );

  it('ends at a stop word when eos is suppressed', async () => {
    const [pair] = pairs as [(typeof pairs)[number]];
    const ids = await model.generate({
      ...tokenizer(prompt(pair.instruction), { return_tensors: 'pt' }),
      do_sample: false,
      suppress_tokens: [tokenizer.eos_token_id as number],
      stop_strings: ['###'],
      tokenizer,
      max_new_tokens: 1000,
    });
    const text = tokenizer.decode(ids.at(0) as never);
    expect(text.endsWith(`${pair.response}\n\n###`)).toBe(true);
  });

  it('gives the same text for a seed: alone, in a batch of three, on one and two threads', async () => {
    const questions = pairs.slice(0, 3).map((p) => p.instruction);
    const options = {
      do_sample: true,
      // Hot enough that the seed matters.
      temperature: 3,
      top_k: 0,
      top_p: 1,
      max_new_tokens: 60,
      eos_token_id: -1,
      pad_token_id: 0,
      seed: 7,
    };
    const answer = async (m: PreTrainedModel, texts: string[], seed = 7) => {
      const inputs = tokenizer(texts, {
        padding: true,
        padding_side: 'left',
        return_tensors: 'pt',
      });
      const width = inputs.input_ids.dims[1] as number;
      const ids = (await m.generate({ ...inputs, ...options, seed })).tolist() as number[][];
      return ids.map((row) => tokenizer.decode(row.slice(width)));
    };
    const batch = await answer(model, questions);
    expect(new Set(batch).size).toBe(3);
    for (const threads of [1, 2]) {
      const twin = await AutoModelForCausalLM.from_pretrained(folder, {
        num_threads: threads,
        device_map: 'cpu',
      });
      for (const [i, question] of questions.entries()) {
        expect(await answer(twin, [question])).toEqual([batch[i]]);
      }
      expect(await answer(twin, questions)).toEqual(batch);
      await twin.dispose();
    }
    expect(await answer(model, questions, 8)).not.toEqual(batch);
  });
});

it("runs the model card's example", async () => {
  const [pair] = pairs as [(typeof pairs)[number]];
  const chunks: string[] = [];
  const text = await modelCard(folder, pair.instruction, (chunk) => chunks.push(chunk));
  expect(text).toContain(pair.response);
  expect(chunks.join('').trim()).toBe(pair.response);
});
