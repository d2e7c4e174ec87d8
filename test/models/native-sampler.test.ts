import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AutoModelForCausalLM, type PreTrainedModel } from '../../lib/index.js';

/**
 * The fused native sampler against the processors in TypeScript, end to end: a processor of the user's
 * that changes nothing sends a call through TypeScript, and the tokens must be the same.
 */
describe('the native sampler chooses what the TypeScript reference chooses', () => {
  let model: PreTrainedModel;
  beforeAll(async () => {
    model = await AutoModelForCausalLM.from_pretrained(
      path.join(import.meta.dirname, '../../models/komt-tiny'),
      { device_map: 'cpu' },
    );
  });
  afterAll(() => model.dispose());

  it.each([
    { temperature: 2 },
    { temperature: 0.7, top_k: 5 },
    { temperature: 3, top_k: 0, top_p: 0.8 },
    { temperature: 3, top_k: 0, top_p: 1, min_p: 0.05 },
    { temperature: 3, top_k: 0, top_p: 1, typical_p: 0.6 },
    { temperature: 2, top_k: 40, top_p: 0.9, min_p: 0.01, typical_p: 0.9 },
    { temperature: 2, repetition_penalty: 1.4 },
    { temperature: 4, top_k: 0, top_p: 1, min_new_tokens: 20 },
    { do_sample: false, repetition_penalty: 1.8, min_new_tokens: 12 },
  ])('%o', async (settings) => {
    for (const seed of [1, 2, 3]) {
      const options = {
        input_ids: [
          [0, 1, 300, 301, 302],
          [1, 310, 311, 312, 313],
        ],
        attention_mask: [
          [0, 1, 1, 1, 1],
          [1, 1, 1, 1, 1],
        ],
        do_sample: true,
        max_new_tokens: 32,
        num_return_sequences: settings.do_sample === false ? 1 : 2,
        seed,
        ...settings,
      };
      const native = await model.generate(options);
      const reference = await model.generate({
        ...options,
        logits_processor: [(_ids: number[][], scores: Float32Array[]) => scores],
      });
      expect(native.tolist()).toEqual(reference.tolist());
    }
  });
});
