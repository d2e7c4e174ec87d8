import { expect, it } from 'vitest';
import { FileNotFoundError } from '../../lib/errors.js';
import { GenerationConfig } from '../../lib/generation/configuration.js';
import { FIRST, hub, ID, refusal, useFakeHub } from './setup.js';

useFakeHub();

function publish(files: Record<string, string>): void {
  const buffers = Object.entries(files).map(([name, text]) => [name, Buffer.from(text)]);
  const commits = { [FIRST]: Object.fromEntries(buffers) };
  hub.repositories.set(ID, { revisions: { main: FIRST }, commits });
}

it('a repository of an adapter is called one', async () => {
  publish({ 'adapter_config.json': '{}', 'adapter_model.safetensors': 'x' });
  const error = await refusal(ID);
  expect(error).toBeInstanceOf(FileNotFoundError);
  expect(error.message).toMatch(/LoRA adapter.*merge it into its base model/);
});

it('a generation configuration comes from the Hub as a model does', async () => {
  publish({ 'generation_config.json': '{"do_sample": true, "top_k": 7}' });
  const config = await GenerationConfig.from_pretrained(ID, { revision: 'main', top_p: 0.5 });
  expect(config.to_dict()).toEqual({ do_sample: true, top_k: 7, top_p: 0.5 });
  publish({ 'config.json': '{}' });
  await expect(GenerationConfig.from_pretrained(ID)).rejects.toBeInstanceOf(FileNotFoundError);
});
