import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { AbortError, DownloadError, HubError } from '../../lib/errors.js';
import { resolveModelDir } from '../../lib/hub/index.js';
import { sha256 } from './fake-hub.js';
import { cache, hub, ID, partials, refusal, repository, useFakeHub, weights } from './setup.js';

useFakeHub();

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
