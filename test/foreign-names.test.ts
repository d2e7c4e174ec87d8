import { expect, it } from 'vitest';
import { resolveConfig } from '../lib/generation/resolve.js';
import { AutoModelForCausalLM, GenerationConfig } from '../lib/index.js';

it.each([
  ['stop', ['\n'], /`stop_strings`/],
  ['max_tokens', 10, /`max_new_tokens`/],
  ['maxTokens', 10, /`max_new_tokens`/],
  ['n', 2, /`num_return_sequences`/],
  ['response_format', { type: 'json_object' }, /form are not supported/],
  ['logit_bias', {}, /`sequence_bias`/],
  ['messages', [], /apply_chat_template/],
  ['num_ctx', 4096, /`cache_tokens`/],
  ['repeatPenalty', 1.1, /`repetition_penalty`/],
  ['topP', 0.9, /Did you mean `top_p`/],
  ['maxNewTokens', 9, /Did you mean `max_new_tokens`/],
  ['temperatur', 1, /Did you mean `temperature`/],
])('generate() knows what %s stands for elsewhere', (name, value, remedy) => {
  expect(() => resolveConfig({ [name]: value } as never, {})).toThrow(remedy);
  expect(() => new GenerationConfig({ [name]: value } as never)).toThrow(remedy);
});

it.each([
  ['gguf_file', 'model.gguf', /GGUF is not read/],
  ['load_in_4bit', true, /choose with `dtype`/],
  ['gpuLayers', 33, /`device_map`/],
  ['n_ctx', 4096, /`cache_tokens`/],
])('from_pretrained() knows what %s stands for elsewhere', async (name, value, remedy) => {
  await expect(
    AutoModelForCausalLM.from_pretrained('models/komt-tiny', { [name]: value } as never),
  ).rejects.toThrow(remedy);
});
