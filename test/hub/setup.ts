import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest';
import { type HubOptions, resolveModelDir } from '../../lib/hub/index.js';
import { temporaryFolder } from '../temporary-folder.js';
import { FakeHub } from './fake-hub.js';

export const ID = 'davidkim205/komt-test';
export const FIRST = 'a'.repeat(40);
export const SECOND = 'b'.repeat(40);
export const weights = randomBytes(300_000);
export const shard = (i: number) => Buffer.from(`shard ${i}`);

export const small = {
  'config.json': Buffer.from('{"model_type":"llama"}'),
  'generation_config.json': Buffer.from('{}'),
  'tokenizer.model': Buffer.from('pieces'),
  'tokenizer_config.json': Buffer.from('{"a":1}'),
  'README.md': Buffer.from('# not wanted'),
  'optimizer.bin': Buffer.from('not wanted'),
};
export const single = { ...small, 'model.safetensors': weights };

/** The server; fresh repositories before every test. */
export let hub: FakeHub;
/** HF_HOME; a fresh folder for every test. */
export let cache: string;
/** Address of a server that has been stopped. */
export let unreachable: string;
const saved = { ...process.env };

/** Gives the tests of this file a Hub and a cache of their own, and no settings of the machine. */
export function useFakeHub(): void {
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
      if (/^(HF_|HUGGING|TRANSFORMERS_|XDG_)|_proxy$/i.test(name)) delete process.env[name];
    }
    cache = temporaryFolder().path;
    process.env.HF_HOME = cache;
    process.env.HF_ENDPOINT = `${hub.url}/`;
    hub.requests.length = 0;
    hub.faults.length = 0;
    hub.apiAnswer = undefined;
    hub.intercept = undefined;
    hub.repositories.clear();
    hub.repositories.set(ID, { revisions: { main: FIRST }, commits: { [FIRST]: single } });
  });
  afterEach(() => {
    process.env = { ...saved };
  });
}

/** Folder of {@link ID} in the cache. */
export const repository = () => join(cache, 'hub', 'models--davidkim205--komt-test');
/** Files that a transfer has not finished. */
export const partials = () => {
  const blobs = join(repository(), 'blobs');
  return existsSync(blobs) ? readdirSync(blobs).filter((name) => name.includes('.')) : [];
};

/** The error that resolving ends with. */
export async function refusal(id: string, options?: HubOptions): Promise<Error> {
  return resolveModelDir(id, options).then(
    () => expect.fail('the model was resolved'),
    (error: Error) => error,
  );
}
