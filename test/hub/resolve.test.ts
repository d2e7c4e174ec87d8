import { randomBytes } from 'node:crypto';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  AbortError,
  CheckpointError,
  DownloadError,
  FileNotFoundError,
  GatedRepositoryError,
  HubError,
  InvalidArgumentError,
  OfflineError,
  RepositoryNotFoundError,
  RevisionNotFoundError,
} from '../../lib/errors.js';
import { type HubOptions, type ProgressInfo, resolveModelDir } from '../../lib/hub/index.js';
import { etagOf, FakeHub, sha256 } from './fake-hub.js';

const ID = 'davidkim205/komt-test';
const FIRST = 'a'.repeat(40);
const SECOND = 'b'.repeat(40);
const weights = randomBytes(300_000);
const shard = (i: number) => Buffer.from(`shard ${i}`);

const small = {
  'config.json': Buffer.from('{"model_type":"llama"}'),
  'generation_config.json': Buffer.from('{}'),
  'tokenizer.model': Buffer.from('pieces'),
  'tokenizer_config.json': Buffer.from('{"a":1}'),
  'README.md': Buffer.from('# not wanted'),
  'optimizer.bin': Buffer.from('not wanted'),
};
const single = { ...small, 'model.safetensors': weights };

let hub: FakeHub;
let cache: string;
/** Address of a server that has been stopped. */
let unreachable: string;
const saved = { ...process.env };

beforeAll(async () => {
  hub = new FakeHub();
  await hub.start();
  const gone = new FakeHub();
  await gone.start();
  unreachable = gone.url;
  await gone.stop();
});
afterAll(() => hub.stop());

beforeEach(() => {
  for (const name of Object.keys(process.env)) {
    if (/^(HF_|HUGGING|TRANSFORMERS_|XDG_)/.test(name)) delete process.env[name];
  }
  cache = mkdtempSync(join(tmpdir(), 'komt-hub-'));
  process.env.HF_HOME = cache;
  process.env.HF_ENDPOINT = `${hub.url}/`;
  hub.requests.length = 0;
  hub.faults.length = 0;
  hub.apiAnswer = undefined;
  hub.repositories.clear();
  hub.repositories.set(ID, { revisions: { main: FIRST }, commits: { [FIRST]: single } });
});
afterEach(() => {
  process.env = { ...saved };
  rmSync(cache, { recursive: true, force: true });
});

const repository = () => join(cache, 'hub', 'models--davidkim205--komt-test');
const partials = () => {
  const blobs = join(repository(), 'blobs');
  return existsSync(blobs) ? readdirSync(blobs).filter((name) => name.includes('.')) : [];
};

async function refusal(id: string, options?: HubOptions): Promise<Error> {
  return resolveModelDir(id, options).then(
    () => expect.fail('the model was resolved'),
    (error: Error) => error,
  );
}

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

describe('a transfer that goes wrong', () => {
  const path = 'model.safetensors';
  const blob = () => join(repository(), 'blobs', sha256(weights));

  it('is continued where it broke off', async () => {
    hub.faults.push({ path, kind: 'cut', after: 100_000 }, { path, kind: 'cut', after: 50_000 });
    const folder = await resolveModelDir(ID);
    expect(readFileSync(join(folder, path)).equals(weights)).toBe(true);
    const ranges = hub.transfers.filter((transfer) => transfer.startsWith(path));
    expect(ranges.length).toBe(3);
    for (const transfer of ranges.slice(1)) {
      expect(Number(/bytes=(\d+)-$/.exec(transfer)?.[1])).toBeGreaterThan(0);
    }
    expect(partials()).toEqual([]);
  });

  it('begins anew where the server knows no ranges', async () => {
    hub.faults.push({ path, kind: 'cut', after: 100_000 }, { path, kind: 'no-ranges' });
    const folder = await resolveModelDir(ID);
    expect(readFileSync(join(folder, path)).equals(weights)).toBe(true);
  });

  it('is tried again after a 503', async () => {
    hub.faults.push({ path, kind: 'unavailable' }, { path, kind: 'unavailable' });
    await resolveModelDir(ID);
    expect(hub.transfers.filter((transfer) => transfer === path).length).toBe(3);
  });

  it('is given up, and what came is kept for the next time', async () => {
    hub.faults.push({ path, kind: 'cut', after: 100_000 });
    for (let i = 0; i < 5; i++) hub.faults.push({ path, kind: 'unavailable' });
    const error = await refusal(ID);
    expect(error).toBeInstanceOf(DownloadError);
    expect(error.message).toMatch(/model\.safetensors broke off: expected 300000 bytes/);
    expect(existsSync(blob())).toBe(false);
    expect(partials().length).toBe(1);
    const kept = statSync(join(repository(), 'blobs', partials()[0] as string)).size;
    expect(kept).toBeGreaterThan(0);

    hub.requests.length = 0;
    hub.faults.length = 0;
    const folder = await resolveModelDir(ID);
    expect(hub.transfers).toEqual([`${path} bytes=${kept}-`]);
    expect(readFileSync(join(folder, path)).equals(weights)).toBe(true);
    expect(partials()).toEqual([]);
  }, 20_000);

  it.each(['corrupt', 'longer'] as const)('is thrown away when %s', async (kind) => {
    hub.faults.push({ path, kind });
    const error = await refusal(ID);
    expect(error).toBeInstanceOf(DownloadError);
    expect(error.name).toBe('DownloadError');
    expect(error.message).toMatch(/model\.safetensors has another (hash|size)/);
    expect(existsSync(blob())).toBe(false);
    expect(partials()).toEqual([]);
    await resolveModelDir(ID);
    expect(existsSync(blob())).toBe(true);
  });

  it('is checked from its first byte, also what an earlier one left', async () => {
    mkdirSync(join(repository(), 'blobs'), { recursive: true });
    const host = hostname().replace(/[^\w.]/g, '_');
    const left = `${blob()}.${host}-0-0123abcd.incomplete`;
    writeFileSync(left, Buffer.alloc(1000));
    expect((await refusal(ID)).message).toMatch(/another hash/);
    expect(partials()).toEqual([]);
  });

  it("takes over a dead process's leavings and leaves a living one's alone", async () => {
    mkdirSync(join(repository(), 'blobs'), { recursive: true });
    const host = hostname().replace(/[^\w.]/g, '_');
    const living = `${blob()}.${host}-${process.ppid}-00000001.incomplete`;
    const dead = `${blob()}.${host}-${2 ** 22 + 7}-00000002.incomplete`;
    writeFileSync(living, weights.subarray(0, 500));
    writeFileSync(dead, weights.subarray(0, 700));
    await resolveModelDir(ID);
    expect(hub.transfers).toContain(`${path} bytes=700-`);
    expect(existsSync(living)).toBe(true);
    expect(existsSync(dead)).toBe(false);
  });

  it('may happen twice at once', async () => {
    const folders = await Promise.all([1, 2, 3].map(() => resolveModelDir(ID)));
    expect(new Set(folders).size).toBe(1);
    expect(readFileSync(blob()).equals(weights)).toBe(true);
    expect(partials()).toEqual([]);
  });

  it('ends with the signal, and nothing has its final name', async () => {
    hub.faults.push({ path, kind: 'hang', after: 1000 });
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error('enough')), 150);
    const error = await refusal(ID, { signal: controller.signal });
    expect(error).toBeInstanceOf(AbortError);
    expect((error.cause as Error).message).toBe('enough');
    expect(existsSync(blob())).toBe(false);
    expect(await refusal(ID, { signal: AbortSignal.abort() })).toBeInstanceOf(AbortError);
  });

  it('says where it could not write', async () => {
    writeFileSync(join(cache, 'file'), '');
    const error = await refusal(ID, { cache_dir: join(cache, 'file') });
    expect(error).toBeInstanceOf(HubError);
    expect(error.message).toContain(join(cache, 'file'));
  });
});

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
