import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import {
  AbortError,
  DownloadError,
  HubError,
  InvalidArgumentError,
  OfflineError,
} from '../../lib/errors.js';
import { resolveModelDir } from '../../lib/hub/index.js';
import { gitSha1 } from './fake-hub.js';
import { cache, FIRST, hub, ID, refusal, repository, small, useFakeHub, weights } from './setup.js';

useFakeHub();

const patterns = ['config.json'];
const json = (response: ServerResponse, value: unknown) => void response.end(JSON.stringify(value));

/** Answers the listing, and leaves everything else to the Hub. */
function list(answer: (response: ServerResponse, url: string) => void): void {
  hub.intercept = ({ url = '' }, response) => {
    if (!url.includes('/tree/')) return false;
    answer(response, url);
    return true;
  };
}

/** An entry of a listing. */
function entry(path: unknown, more: object = {}): object {
  const data = small['config.json'];
  return { type: 'file', path, size: data.length, oid: gitSha1(data), ...more };
}

async function within<T>(milliseconds: number, run: () => Promise<T>): Promise<T> {
  const started = performance.now();
  const value = await run();
  expect(performance.now() - started).toBeLessThan(milliseconds);
  return value;
}

describe('a silent server', () => {
  it.each([
    ['says nothing', () => undefined],
    ['stops after the headers', (r: ServerResponse) => void r.flushHeaders()],
    ['stops within the answer', (r: ServerResponse) => void r.write('[{"type":')],
  ])('that %s counts as none', async (_, answer) => {
    process.env.HF_HUB_ETAG_TIMEOUT = '0.3';
    const folder = await resolveModelDir(ID);
    list(answer);
    // What was fetched before still serves.
    expect(await within(5000, () => resolveModelDir(ID))).toBe(folder);
    const error = await within(5000, () => refusal(ID, { cache_dir: join(cache, 'empty') }));
    expect(error).toBeInstanceOf(OfflineError);
    expect(error.message).toMatch(/nothing for 0\.3 s \(HF_HUB_ETAG_TIMEOUT\)/);
  });

  it('within a file is asked again', async () => {
    process.env.HF_HUB_DOWNLOAD_TIMEOUT = '0.2';
    hub.faults.push({ path: 'model.safetensors', kind: 'hang', after: 1000 });
    const folder = await within(5000, () => resolveModelDir(ID));
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true);
  });

  it('within a file, again and again, ends in a DownloadError that says what to do', async () => {
    process.env.HF_HUB_DOWNLOAD_TIMEOUT = '0.2';
    for (let i = 0; i < 9; i++) hub.faults.push({ path: 'config.json', kind: 'hang', after: 0 });
    const error = await within(15_000, () => refusal(ID));
    expect(error).toBeInstanceOf(DownloadError);
    expect(error.message).toMatch(/config\.json broke off.*set HF_HUB_DOWNLOAD_TIMEOUT to more/);
  }, 20_000);

  it.each(['0', '-1', 'ten', '1e9', 'NaN'])('is not waited for %s seconds', async (text) => {
    process.env.HF_HUB_ETAG_TIMEOUT = text;
    const error = await refusal(ID);
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(error.message).toContain('HF_HUB_ETAG_TIMEOUT');
  });
});

describe('abort acts at once', () => {
  it.each([
    ['a silent server', () => list(() => undefined)],
    ['a silent file', () => hub.faults.push({ path: 'config.json', kind: 'hang', after: 1 })],
    [
      'the wait before another try',
      () =>
        list((response) => {
          response.writeHead(429, { 'Retry-After': '20' }).end();
        }),
    ],
  ])('on %s', async (_, prepare) => {
    prepare();
    const controller = new AbortController();
    setTimeout(() => controller.abort('enough'), 200);
    const error = await within(2000, () => refusal(ID, { signal: controller.signal }));
    expect(error).toBeInstanceOf(AbortError);
    expect(error.cause).toBe('enough');
  });

  it('for a signal that is only shaped like one', async () => {
    list(() => undefined);
    const target = new EventTarget();
    const signal = {
      aborted: false,
      reason: undefined as unknown,
      addEventListener: target.addEventListener.bind(target),
    };
    setTimeout(() => {
      Object.assign(signal, { aborted: true, reason: 'mine' });
      target.dispatchEvent(new Event('abort'));
    }, 100);
    const error = await within(2000, () => refusal(ID, { signal: signal as AbortSignal }));
    expect(error).toBeInstanceOf(AbortError);
    expect(error.cause).toBe('mine');
  });
});

describe('a server in trouble', () => {
  it.each([429, 503])('is asked again after %d, as late as it wants', async (status) => {
    let refusals = 0;
    const headers = { 'Retry-After': '1' };
    hub.intercept = ({ url = '' }, response) => {
      if (!url.includes('/tree/') || refusals++ > 0) return false;
      response.writeHead(status, headers).end();
      return true;
    };
    const started = performance.now();
    await resolveModelDir(ID, { patterns });
    expect(performance.now() - started).toBeGreaterThan(900);
    expect(refusals).toBeGreaterThan(1);
  });
});

describe('an answer without end', () => {
  it('of pages is given up', async () => {
    let pages = 0;
    list((response, url) => {
      pages++;
      response.setHeader('Link', `<${hub.url}${url}>; rel="next"`);
      json(response, [entry(`file-${pages}`)]);
    });
    const error = await within(10_000, () => refusal(ID));
    expect(error).toBeInstanceOf(HubError);
    expect(error.message).toMatch(/listing of .* does not end: expected at most 100 pages/);
    expect(pages).toBeLessThanOrEqual(100);
  });

  it('of bytes is given up before it is taken in', async () => {
    let sent = 0;
    list((response) => {
      const chunk = Buffer.alloc(1 << 16, ' ');
      const more = () => {
        while (!response.destroyed && response.write(chunk)) sent += chunk.length;
      };
      response.on('drain', more).on('error', () => undefined);
      more();
    });
    const error = await within(5000, () => refusal(ID));
    expect(error).toBeInstanceOf(HubError);
    expect(error.message).toMatch(/beyond all measure: expected at most 2097152 bytes/);
    expect(sent).toBeLessThan(64 << 20);
  });

  it.each([
    ['to itself', (url: string) => url],
    ['to ever new places', (url: string) => `${url}&again`],
  ])('of redirects %s is given up', async (_, next) => {
    list((response, url) => void response.writeHead(302, { Location: next(url) }).end());
    const error = await within(5000, () => refusal(ID));
    expect(error).toBeInstanceOf(HubError);
    expect(error).not.toBeInstanceOf(OfflineError);
    expect(error.message).toMatch(/redirects .* do not end: found more than 10/);
  });

  it.each(['file:///etc/passwd', 'data:application/json,[]', 'http://', 'ftp://127.0.0.1/'])(
    'may not lead to %s',
    async (Location) => {
      list((response) => void response.writeHead(302, { Location }).end());
      expect((await refusal(ID)).message).toMatch(/redirects .* lead to no server/);
    },
  );
});

describe('a hostile listing', () => {
  it('may name what it likes: nothing leaves the cache', async () => {
    const names = [
      '../../../../evil.json',
      '/etc/evil.json',
      'tokenizer.json/../../../../evil.json',
      '..\\..\\evil.json',
      'C:\\evil.json',
      'evil\0.json',
      '..',
      '',
      `${'x'.repeat(5000)}.json`,
    ];
    list((response) =>
      json(
        response,
        [...names, 'config.json'].map((name) => entry(name)),
      ),
    );
    const folder = await resolveModelDir(ID, { patterns: ['*.json', '*'] });
    expect(readdirSync(folder)).toEqual(['config.json']);
    expect(readdirSync(cache, { recursive: true }).filter((n) => /evil/.test(String(n)))).toEqual(
      [],
    );
    expect(existsSync('/etc/evil.json')).toBe(false);
  });

  it('may be long', async () => {
    const many = Array.from({ length: 10_000 }, (_, i) => entry(`other-${i}.txt`));
    list((response) => json(response, [...many, entry('config.json')]));
    const folder = await within(5000, () => resolveModelDir(ID, { patterns }));
    expect(readdirSync(folder)).toEqual(['config.json']);
  });

  it.each([
    ['null', null],
    ['a number', 7],
    ['an object', { error: 'no' }],
    ['an entry that is null', [null]],
    ['a name that is a number', [entry(7)]],
    ['a name that is a list', [entry(['config.json'])]],
    ['a size in words', [entry('config.json', { size: '2' })]],
    ['a size that is a fraction', [entry('config.json', { size: 1.5 })]],
    ['a size beyond all numbers', [entry('config.json', { size: 1e300 })]],
    ['a hash that is a list', [entry('config.json', { oid: [FIRST] })]],
    ['no hash', [entry('config.json', { oid: undefined })]],
    ['an lfs that is a text', [entry('config.json', { lfs: 'x' })]],
  ])('that is or has %s is refused', async (_, answer) => {
    list((response) => json(response, answer));
    const error = await refusal(ID);
    expect(error).toBeInstanceOf(HubError);
    expect(error.message).toMatch(/malformed|could not be read|no files to load/);
  });

  it('that is no JSON, or endlessly deep, is refused', async () => {
    for (const text of ['<html>', '['.repeat(1_000_000), '{"a":'.repeat(300_000)]) {
      list((response) => void response.end(text));
      expect(await within(5000, () => refusal(ID))).toBeInstanceOf(HubError);
    }
  });

  it('with a file that no disk holds is refused before a byte of it comes', async () => {
    const oid = 'a'.repeat(64);
    list((response) => json(response, [entry('config.json', { lfs: { oid, size: 1e15 } })]));
    const error = await within(2000, () => refusal(ID, { patterns }));
    expect(error).toBeInstanceOf(DownloadError);
    expect(error.message).toMatch(/not enough space.*expected 1000000000000000 bytes/);
    expect(hub.transfers).toEqual([]);
  });

  it.each([
    ['more than comes', 1000],
    ['less than comes', 1],
  ])(
    'that announces %s is found out',
    async (_, size) => {
      list((response) => json(response, [entry('config.json', { size })]));
      const error = await refusal(ID, { patterns });
      expect(error).toBeInstanceOf(DownloadError);
      expect(existsSync(join(repository(), 'snapshots'))).toBe(false);
    },
    20_000,
  );

  it('with a commit in a list is refused', async () => {
    hub.apiAnswer = () => ({ id: ID, sha: [FIRST] });
    expect((await refusal(ID)).message).toMatch(/malformed commit/);
  });
});

it('no error shows the token', async () => {
  const token = 'hf_secret_of_mine';
  for (const status of [400, 401, 403, 404, 418, 500]) {
    list((response) => void response.writeHead(status, { 'Retry-After': '0' }).end());
    expect(inspect(await refusal(ID, { token }), { depth: 9 })).not.toContain(token);
  }
  process.env.HF_ENDPOINT = 'http://127.0.0.1:9';
  expect(inspect(await refusal(ID, { token }), { depth: 9 })).not.toContain(token);
}, 20_000);
