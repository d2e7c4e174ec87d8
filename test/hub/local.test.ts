import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FileNotFoundError, InvalidArgumentError } from '../../lib/errors.js';
import { resolveModelDir } from '../../lib/hub/index.js';
import { cache, hub, ID, refusal, useFakeHub } from './setup.js';

useFakeHub();

describe('a local folder', () => {
  it('is taken as it is, and nobody is asked', async () => {
    const folder = join(cache, 'my-model');
    mkdirSync(join(folder, 'inner'), { recursive: true });
    expect(await resolveModelDir(folder)).toBe(folder);
    expect(await resolveModelDir(folder, { subfolder: 'inner' })).toBe(join(folder, 'inner'));
    expect(await refusal(folder, { subfolder: 'other' })).toBeInstanceOf(FileNotFoundError);
    // A folder that exists wins over a repository of the same name.
    const before = process.cwd();
    mkdirSync(join(cache, ID), { recursive: true });
    try {
      process.chdir(cache);
      expect(await resolveModelDir(ID)).toBe(join(process.cwd(), ID));
    } finally {
      process.chdir(before);
    }
    expect(hub.requests).toEqual([]);
  });

  it.each([
    './model',
    '../model',
    '.',
    '/no/such/model',
    '~/no-such-model',
    'a/b/c',
    'models/x/',
    'C:\\models\\x',
    '.\\x',
  ])('%s is never asked for on the network', async (path) => {
    if (path === '.') return expect(await resolveModelDir('.')).toBe(process.cwd());
    const error = await refusal(path);
    expect(error).toBeInstanceOf(FileNotFoundError);
    expect(error.message).toMatch(/does not exist.*"owner\/name"/);
    expect(hub.requests).toEqual([]);
  });

  it.each(['two words', 'a--b', 'x/y?z', '.hidden', 'owner/name.git', '한글', 'a'.repeat(97)])(
    '%j is neither a folder nor an id',
    async (id) => {
      expect(await refusal(id)).toBeInstanceOf(InvalidArgumentError);
      expect(hub.requests).toEqual([]);
    },
  );

  it('is not a file', async () => {
    writeFileSync(join(cache, 'model.safetensors'), '');
    const error = await refusal(join(cache, 'model.safetensors'));
    expect(error.message).toMatch(/is a file; a model is loaded by its folder/);
  });
});

describe('the environment', () => {
  const patterns = ['config.json'];
  it('says where the cache is', async () => {
    process.env.HF_HUB_CACHE = join(cache, 'elsewhere');
    expect(await resolveModelDir(ID, { patterns })).toContain(join(cache, 'elsewhere', 'models--'));
    const option = join(cache, 'option');
    expect(await resolveModelDir(ID, { patterns, cache_dir: option })).toContain(
      join(option, 'models--'),
    );
    delete process.env.HF_HUB_CACHE;
    delete process.env.HF_HOME;
    process.env.XDG_CACHE_HOME = join(cache, 'xdg');
    const home = join(cache, 'xdg', 'huggingface', 'hub');
    expect(await resolveModelDir(ID, { patterns })).toContain(home);
  });

  it('may not name nonsense for the Hub', async () => {
    process.env.HF_ENDPOINT = 'file:///etc';
    expect(await refusal(ID)).toBeInstanceOf(InvalidArgumentError);
  });
});
