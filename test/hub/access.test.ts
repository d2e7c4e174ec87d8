import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  GatedRepositoryError,
  HubError,
  InvalidArgumentError,
  OfflineError,
  RepositoryNotFoundError,
  RevisionNotFoundError,
} from '../../lib/errors.js';
import { resolveModelDir } from '../../lib/hub/index.js';
import {
  cache,
  FIRST,
  hub,
  ID,
  refusal,
  SECOND,
  shard,
  single,
  small,
  unreachable,
  useFakeHub,
} from './setup.js';

useFakeHub();

describe('access', () => {
  it('is refused as what it is', async () => {
    const missing = await refusal('davidkim205/no-such-model');
    expect(missing).toBeInstanceOf(RepositoryNotFoundError);
    expect(missing.message).toMatch(/no-such-model.*HTTP 401.*set HF_TOKEN/);
    expect(await refusal(ID, { revision: 'v9' })).toBeInstanceOf(RevisionNotFoundError);
    expect(await refusal(ID, { revision: SECOND })).toBeInstanceOf(RevisionNotFoundError);
    const commits = { [FIRST]: single };
    hub.repositories.set(ID, { revisions: { main: FIRST }, commits, access: 'gated' });
    const gated = await refusal(ID);
    expect(gated).toBeInstanceOf(GatedRepositoryError);
    expect(gated.message).toContain(`Accept its terms at ${hub.url}/${ID}`);
    expect(await refusal(ID, { token: 'hf_other' })).toBeInstanceOf(GatedRepositoryError);
    hub.repositories.set(ID, { revisions: { main: FIRST }, commits, access: 'private' });
    const wrong = await refusal(ID, { token: 'hf_other' });
    expect(wrong).toBeInstanceOf(RepositoryNotFoundError);
    expect(wrong.message).not.toContain('hf_other');
  });

  it('is given by the token of the option, the environment or the file, in this order', async () => {
    const commits = { [FIRST]: single };
    hub.repositories.set(ID, { revisions: { main: FIRST }, commits, access: 'private' });
    const patterns = ['config.json'];
    writeFileSync(join(cache, 'token'), 'hf_secret\n');
    await resolveModelDir(ID, { patterns });
    process.env.HF_TOKEN = 'hf_other';
    expect(await refusal(ID, { patterns })).toBeInstanceOf(RepositoryNotFoundError);
    await resolveModelDir(ID, { patterns, token: 'hf_secret' });
    process.env.HF_TOKEN = 'hf_secret';
    await resolveModelDir(ID, { patterns, token: true });
    expect(await refusal(ID, { patterns, token: false })).toBeInstanceOf(RepositoryNotFoundError);
    expect(await refusal(ID, { patterns, token: 'two words' })).toBeInstanceOf(
      InvalidArgumentError,
    );
    delete process.env.HF_TOKEN;
    rmSync(join(cache, 'token'));
    expect(await refusal(ID, { patterns, token: true })).toBeInstanceOf(InvalidArgumentError);
  });

  it('keeps the token from other servers', async () => {
    await resolveModelDir(ID, { token: 'hf_secret' });
    const tokens = (server: string) =>
      new Set(hub.requests.filter((r) => r.server === server).map((r) => r.authorization));
    expect(tokens('hub')).toEqual(new Set(['Bearer hf_secret']));
    expect(tokens('cdn')).toEqual(new Set([undefined]));
  });

  it.each([
    ['a commit that is a path', { id: ID, sha: '../../../../tmp/evil' }, /malformed commit/],
    ['no commit', {}, /malformed commit|could not be read/],
    ['a list', [], /malformed commit|could not be read/],
  ])('survives an answer with %s', async (_, answer, message) => {
    hub.apiAnswer = () => answer;
    const error = await refusal(ID);
    expect(error).toBeInstanceOf(HubError);
    expect(error.message).toMatch(message);
  });

  it.each([
    ['a hash that is a path', { oid: '../../evil' }],
    ['a size that is none', { size: -1 }],
  ])('survives a listing with %s', async (_, entry) => {
    hub.apiAnswer = (path) =>
      path.includes('/tree/')
        ? [{ type: 'file', path: 'config.json', size: 1, oid: 'c'.repeat(40), ...entry }]
        : { id: ID, sha: FIRST };
    expect((await refusal(ID)).message).toMatch(/malformed (hash|file size)/);
  });
});

describe('without the network', () => {
  it('the cache serves what it has', async () => {
    const folder = await resolveModelDir(ID);
    hub.requests.length = 0;
    expect(await resolveModelDir(ID, { local_files_only: true })).toBe(folder);
    process.env.HF_HUB_OFFLINE = '1';
    expect(await resolveModelDir(ID)).toBe(folder);
    expect(hub.requests).toEqual([]);
    delete process.env.HF_HUB_OFFLINE;
    process.env.HF_ENDPOINT = unreachable;
    expect(await resolveModelDir(ID)).toBe(folder);
  });

  it('what is not there is an OfflineError that says what is missing', async () => {
    const nothing = await refusal(ID, { local_files_only: true });
    expect(nothing).toBeInstanceOf(OfflineError);
    expect(nothing.message).toMatch(/not in the cache, and local_files_only is set/);
    expect(hub.requests).toEqual([]);

    await resolveModelDir(ID, { patterns: ['config.json'] });
    expect(
      await resolveModelDir(ID, { patterns: ['config.json'], local_files_only: true }),
    ).toContain(FIRST);
    const partial = await refusal(ID, { local_files_only: true });
    expect(partial.message).toMatch(/model\.safetensors or .*pytorch_model\.bin/);

    process.env.HF_ENDPOINT = unreachable;
    const error = await refusal(ID);
    expect(error).toBeInstanceOf(OfflineError);
    expect(error.message).toContain(`${unreachable} cannot be reached`);
    expect(error.message).toMatch(/ECONNREFUSED.*Check the network connection/);
  });

  it('a missing shard counts as missing', async () => {
    const index = JSON.stringify({
      weight_map: { a: 'model-1.safetensors', b: 'model-2.safetensors' },
    });
    const files = {
      ...small,
      'model.safetensors.index.json': Buffer.from(index),
      'model-1.safetensors': shard(1),
      'model-2.safetensors': shard(2),
    };
    hub.repositories.set(ID, { revisions: { main: FIRST }, commits: { [FIRST]: files } });
    const folder = await resolveModelDir(ID);
    rmSync(join(folder, 'model-2.safetensors'));
    const error = await refusal(ID, { local_files_only: true });
    expect(error.message).toContain('expected model-2.safetensors');
  });
});
