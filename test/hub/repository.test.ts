import { existsSync, lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CheckpointError, FileNotFoundError, InvalidArgumentError } from '../../lib/errors.js';
import { type ProgressInfo, resolveModelDir } from '../../lib/hub/index.js';
import { etagOf } from './fake-hub.js';
import {
  cache,
  FIRST,
  hub,
  ID,
  partials,
  refusal,
  repository,
  SECOND,
  shard,
  single,
  small,
  useFakeHub,
  weights,
} from './setup.js';

useFakeHub();

describe('a repository', () => {
  it("comes into the cache in Python's layout", async () => {
    const folder = await resolveModelDir(ID);
    expect(folder).toBe(join(repository(), 'snapshots', FIRST));
    expect(readdirSync(folder).sort()).toEqual([
      'config.json',
      'generation_config.json',
      'model.safetensors',
      'tokenizer.model',
      'tokenizer_config.json',
    ]);
    expect(readFileSync(join(repository(), 'refs', 'main'), 'utf8')).toBe(FIRST);
    for (const name of readdirSync(folder)) {
      const data = single[name as keyof typeof single];
      expect(readFileSync(join(folder, name)).equals(data)).toBe(true);
      expect(lstatSync(join(folder, name)).isSymbolicLink()).toBe(true);
      expect(readlinkSync(join(folder, name))).toBe(join('..', '..', 'blobs', etagOf(name, data)));
    }
    expect(partials()).toEqual([]);
  });

  it('is fetched once', async () => {
    await resolveModelDir(ID);
    const { length } = hub.transfers;
    await resolveModelDir(ID);
    expect(hub.transfers.length).toBe(length);
  });

  it('needs no request for a commit that is there', async () => {
    await resolveModelDir(ID, { revision: FIRST });
    hub.requests.length = 0;
    expect(await resolveModelDir(ID, { revision: FIRST })).toContain(FIRST);
    expect(hub.requests).toEqual([]);
    expect(existsSync(join(repository(), 'refs'))).toBe(false);
    // Patterns may match more than the files that happen to be there.
    const patterns = ['config.json', 'tokenizer.*'];
    await resolveModelDir(ID, { revision: FIRST, patterns });
    expect(hub.requests.length).toBeGreaterThan(0);
  });

  it('shares contents between commits and follows its branch', async () => {
    const changed = { ...single, 'config.json': Buffer.from('{"model_type":"mistral"}') };
    const revisions: Record<string, string> = { main: FIRST, 'refs/pr/1': SECOND };
    hub.repositories.set(ID, { revisions, commits: { [FIRST]: single, [SECOND]: changed } });
    await resolveModelDir(ID);
    hub.requests.length = 0;
    const folder = await resolveModelDir(ID, { revision: 'refs/pr/1' });
    expect(hub.transfers).toEqual(['config.json']);
    expect(readFileSync(join(folder, 'config.json'), 'utf8')).toContain('mistral');
    expect(readFileSync(join(repository(), 'refs', 'refs', 'pr', '1'), 'utf8')).toBe(SECOND);
    revisions.main = SECOND;
    expect(await resolveModelDir(ID)).toBe(folder);
    expect(readFileSync(join(repository(), 'refs', 'main'), 'utf8')).toBe(SECOND);
  });

  it('gives safetensors rather than .bin, and .bin where there is nothing else', async () => {
    const bin = { ...small, 'pytorch_model.bin': Buffer.from('bin') };
    const commits = { [FIRST]: { ...bin, ...single }, [SECOND]: bin };
    hub.repositories.set(ID, { revisions: { main: FIRST, old: SECOND }, commits });
    expect(readdirSync(await resolveModelDir(ID))).not.toContain('pytorch_model.bin');
    const old = readdirSync(await resolveModelDir(ID, { revision: 'old' }));
    expect(old).toContain('pytorch_model.bin');
    expect(old).not.toContain('optimizer.bin');
  });

  it('can be made to give one or the other', async () => {
    const both = { ...single, 'pytorch_model.bin': Buffer.from('bin') };
    const bin = { ...small, 'pytorch_model.bin': Buffer.from('bin') };
    const commits = { [FIRST]: both, [SECOND]: bin };
    hub.repositories.set(ID, { revisions: { main: FIRST, old: SECOND }, commits });
    const names = readdirSync(await resolveModelDir(ID, { use_safetensors: false }));
    expect(names).toContain('pytorch_model.bin');
    expect(names).not.toContain('model.safetensors');
    const error = await refusal(ID, { revision: 'old', use_safetensors: true });
    expect(error.message).toMatch(
      /expected model\.safetensors, model\.safetensors\.index\.json, found/,
    );
  });

  it('gives the shards that its index lists, and no others', async () => {
    const names = ['pytorch_model-00001-of-00002.bin', 'pytorch_model-00002-of-00002.bin'];
    const files: Record<string, Buffer> = {
      ...small,
      'pytorch_model.bin.index.json': Buffer.from(
        JSON.stringify({ weight_map: { a: names[0], b: names[1], c: names[0] } }),
      ),
      'pytorch_model-00001-of-00007.bin': Buffer.from('of another sharding'),
    };
    for (const [i, name] of names.entries()) files[name] = shard(i);
    hub.repositories.set(ID, { revisions: { main: FIRST }, commits: { [FIRST]: files } });
    const found = readdirSync(await resolveModelDir(ID)).filter((name) => name.endsWith('.bin'));
    expect(found).toEqual(names);

    delete files[names[1] as string];
    const error = await refusal(ID, { cache_dir: join(cache, 'other') });
    expect(error).toBeInstanceOf(FileNotFoundError);
    expect(error.message).toContain(`no ${names[1]}`);
  });

  it('may not have an index that leaves its folder', async () => {
    const index = JSON.stringify({ weight_map: { a: '../../../../evil.safetensors' } });
    const files = { ...small, 'model.safetensors.index.json': Buffer.from(index) };
    hub.repositories.set(ID, { revisions: { main: FIRST }, commits: { [FIRST]: files } });
    expect(await refusal(ID)).toBeInstanceOf(CheckpointError);
  });

  it('gives the files that patterns match', async () => {
    const folder = await resolveModelDir(ID, { patterns: ['tokenizer*', 'added_tokens.json'] });
    expect(readdirSync(folder)).toEqual(['tokenizer.model', 'tokenizer_config.json']);
    const error = await refusal(ID, { patterns: ['vocab.json', '*.txt'] });
    expect(error).toBeInstanceOf(FileNotFoundError);
    expect(error.message).toMatch(/expected vocab\.json, \*\.txt, found .*config\.json/);
  });

  it('may hold the model in a subfolder', async () => {
    const inner = Object.fromEntries(Object.entries(single).map(([k, v]) => [`deep/er/${k}`, v]));
    const commits = { [FIRST]: { 'README.md': Buffer.from('x'), ...inner } };
    hub.repositories.set(ID, { revisions: { main: FIRST }, commits });
    const folder = await resolveModelDir(ID, { subfolder: 'deep/er/' });
    expect(folder).toBe(join(repository(), 'snapshots', FIRST, 'deep', 'er'));
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true);
    expect(await refusal(ID, { subfolder: 'nowhere' })).toBeInstanceOf(FileNotFoundError);
    for (const subfolder of ['../..', '/etc', 'a/../../b', 'a\\b']) {
      expect(await refusal(ID, { subfolder })).toBeInstanceOf(InvalidArgumentError);
    }
  });

  it('without weights says what it has', async () => {
    hub.repositories.set(ID, { revisions: { main: FIRST }, commits: { [FIRST]: small } });
    const error = await refusal(ID);
    expect(error).toBeInstanceOf(FileNotFoundError);
    expect(error.message).toMatch(/expected model\.safetensors.*found .*optimizer\.bin/);
  });
});

describe('progress', () => {
  it('is reported for each file, from its beginning to its end', async () => {
    const seen: ProgressInfo[] = [];
    await resolveModelDir(ID, { progress_callback: (info) => void seen.push(info) });
    const events = seen.filter(({ file }) => file === 'model.safetensors');
    expect(events.map(({ status }) => status)).toEqual(
      expect.arrayContaining(['initiate', 'download', 'progress', 'done']),
    );
    expect(events[0]).toEqual({
      status: 'initiate',
      name: ID,
      file: 'model.safetensors',
      total: 300_000,
    });
    const loaded = events.filter(({ status }) => status === 'progress').map((e) => e.loaded);
    expect(loaded).toEqual([...loaded].sort((a = 0, b = 0) => a - b));
    expect(events.at(-2)).toMatchObject({ status: 'progress', loaded: 300_000, progress: 100 });
    expect(events.at(-1)).toMatchObject({ status: 'done', loaded: 300_000, progress: 100 });

    seen.length = 0;
    await resolveModelDir(ID, { progress_callback: (info) => void seen.push(info) });
    expect(new Set(seen.map(({ status }) => status))).toEqual(new Set(['initiate', 'done']));
  });

  it('may end the download with an error of its own', async () => {
    const mine = new Error('mine');
    const options = {
      progress_callback: ({ status }: ProgressInfo) => {
        if (status === 'progress') throw mine;
      },
    };
    expect(await refusal(ID, options)).toBe(mine);
    expect(readdirSync(join(repository(), 'blobs')).every((name) => name.includes('.'))).toBe(true);
  });
});
