import { describe, expect, it } from 'vitest';
import { FileNotFoundError, InvalidArgumentError } from '../../lib/errors.js';
import { AutoModelForCausalLM, AutoTokenizer } from '../../lib/index.js';
import { temporaryFolder } from '../temporary-folder.js';

function folderOf(files: Record<string, string>): string {
  const folder = temporaryFolder();
  for (const [name, text] of Object.entries(files)) folder.write(name, text);
  return folder.path;
}

const adapter = { 'adapter_config.json': '{"base_model_name_or_path":"owner/base"}' };

describe('a folder that is no model says what it is', () => {
  it.each<[string, Record<string, string>, RegExp]>([
    ['a LoRA adapter', adapter, /LoRA adapter \(adapter_config\.json\) for owner\/base.*merge it/],
    ['a damaged adapter', { 'adapter_config.json': '{' }, /LoRA adapter.*merge it/],
    ['GGUF', { 'm.Q4_K_M.gguf': 'GGUF' }, /GGUF model \(m\.Q4_K_M\.gguf\).*converted from/],
    [
      "Meta's format",
      { 'params.json': '{}', 'consolidated.00.pth': 'x' },
      /Meta's own format.*-hf repository/,
    ],
    ['the cache', { 'refs/main': 'a', 'snapshots/a/config.json': '{}' }, /Hub cache.*snapshots\//],
    ['a download', { 'model.safetensors.incomplete': 'x' }, /unfinished download/],
    ['nothing', { 'notes.txt': 'x' }, /config\.json does not exist/],
  ])('%s', async (_, files, message) => {
    const folder = folderOf(files);
    const loading = AutoModelForCausalLM.from_pretrained(folder);
    await expect(loading).rejects.toThrow(message);
    await expect(loading).rejects.toBeInstanceOf(FileNotFoundError);
    await expect(loading).rejects.toMatchObject({ file: `${folder}/config.json` });
  });

  it('to the tokenizer too', async () => {
    await expect(AutoTokenizer.from_pretrained(folderOf(adapter))).rejects.toThrow(/LoRA adapter/);
  });
});

it('a file given for a folder is refused with what to give', async () => {
  const folder = folderOf({ 'm.gguf': 'GGUF', 'model.safetensors': 'x' });
  const load = (name: string) => AutoModelForCausalLM.from_pretrained(`${folder}/${name}`);
  await expect(load('m.gguf')).rejects.toThrow(/GGUF cannot be read/);
  await expect(load('model.safetensors')).rejects.toThrow(`Give ${folder}.`);
  await expect(load('m.gguf')).rejects.toBeInstanceOf(InvalidArgumentError);
});
