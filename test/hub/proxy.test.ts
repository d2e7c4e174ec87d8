import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, request as httpRequest, type Server } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import path from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { inspect, promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { InvalidArgumentError, OfflineError } from '../../lib/errors.js';
import { resolveModelDir } from '../../lib/hub/index.js';
import { proxyFor } from '../../lib/hub/proxy.js';
import { cache, hub, ID, refusal, useFakeHub } from './setup.js';

useFakeHub();

const root = path.resolve(import.meta.dirname, '../..');
const certificate = path.join(root, 'test/fixtures/hub/localhost.pem');
const patterns = ['config.json'];
/** Names of nobody: only a proxy can bring a request there. */
const HUB = 'http://hub.example';

/** A proxy that knows where `hub.example` is: forwards http, and tunnels what is asked for by CONNECT. */
class LoopbackProxy {
  readonly seen: { method: string; target: string; authorization?: string }[] = [];
  /** What has to stand in Proxy-Authorization. */
  wanted?: string;
  /** Port for tunnels to hub.example. */
  tunnelTo = 0;
  readonly #server: Server = createServer();
  readonly #sockets = new Set<Socket>();

  constructor() {
    this.#server.on('request', (request, response) => {
      const url = new URL(request.url ?? '');
      if (!this.#admit(request.method ?? '', url.href, request.headers)) {
        response.writeHead(407).end();
        return;
      }
      const port = url.hostname === 'hub.example' ? new URL(hub.url).port : url.port;
      const { method, headers } = request;
      const onward = { host: '127.0.0.1', port, path: url.pathname + url.search, method, headers };
      request.pipe(
        httpRequest(onward, (answer) => {
          response.writeHead(answer.statusCode ?? 500, answer.headers);
          answer.pipe(response);
        }),
      );
    });
    this.#server.on('connect', (request, socket: Socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => undefined);
      if (!this.#admit('CONNECT', request.url ?? '', request.headers)) {
        socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
        return;
      }
      const onward = connect(this.tunnelTo, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 Connection Established\r\n\r\n');
        socket.pipe(onward).pipe(socket);
      });
      this.#sockets.add(onward);
      onward.on('error', () => socket.destroy());
    });
  }

  async start(): Promise<void> {
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done));
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  #admit(method: string, target: string, headers: NodeJS.Dict<string | string[]>): boolean {
    const authorization = headers['proxy-authorization'] as string | undefined;
    this.seen.push({ method, target, authorization });
    return this.wanted === undefined || authorization === this.wanted;
  }
}

const proxy = new LoopbackProxy();
beforeAll(() => proxy.start());
afterAll(() => proxy.stop());
beforeEach(() => {
  proxy.seen.length = 0;
  proxy.wanted = undefined;
});

describe('a proxy', () => {
  it.each(['HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy'])(
    'that %s names carries every request',
    async (name) => {
      process.env.HF_ENDPOINT = HUB;
      process.env[name] = `http://${proxy.host}`;
      await resolveModelDir(ID);
      // The Hub and the server that it sends large files to.
      expect(hub.requests.length).toBeGreaterThan(5);
      expect(proxy.seen.length).toBe(hub.requests.length);
      expect(proxy.seen[0]?.target).toMatch(/^http:\/\/hub\.example\/api\/models\//);
    },
  );

  it('is understood without a scheme', async () => {
    process.env.HF_ENDPOINT = HUB;
    process.env.HTTP_PROXY = proxy.host;
    await resolveModelDir(ID, { patterns });
    expect(proxy.seen.length).toBeGreaterThan(0);
  });

  it('is left out for hosts of NO_PROXY', async () => {
    process.env.HTTP_PROXY = `http://${proxy.host}`;
    process.env.NO_PROXY = 'example.com, 127.0.0.1';
    await resolveModelDir(ID);
    expect(proxy.seen).toEqual([]);
  });

  it('is told its user and password, which no error shows', async () => {
    process.env.HF_ENDPOINT = HUB;
    proxy.wanted = `Basic ${Buffer.from('me:p@ss word').toString('base64')}`;
    process.env.HTTP_PROXY = `http://me:p%40ss%20word@${proxy.host}`;
    await resolveModelDir(ID, { patterns, token: 'hf_of_mine' });
    expect(proxy.seen.every(({ authorization }) => authorization === proxy.wanted)).toBe(true);
    // The proxy's own secret is not for the Hub.
    const secrets = hub.requests.map(({ authorization }) => authorization);
    expect(secrets).toContain('Bearer hf_of_mine');
    expect(secrets).not.toContain(proxy.wanted);
    proxy.wanted = 'Basic of somebody else';
    const fresh = { patterns, cache_dir: path.join(cache, 'other'), token: 'hf_of_mine' };
    const refused = await refusal(ID, fresh);
    expect(refused.message).toMatch(/407/);
    await proxy.stop();
    try {
      const gone = await refusal(ID, fresh);
      expect(gone).toBeInstanceOf(OfflineError);
      expect(gone.message).toContain(
        `through the proxy http://${process.env.HTTP_PROXY?.split('@')[1]}`,
      );
      for (const error of [refused, gone]) {
        expect(inspect(error, { depth: 9 })).not.toMatch(/p@ss|p%40ss|bWU6|hf_of_mine/);
      }
    } finally {
      await proxy.start();
    }
  });

  it.each([
    ['socks5://me:secret@127.0.0.1:1080', /found a socks5 proxy/],
    ['http://me:secret@[oh no', /found no address/],
  ])('that cannot be used is refused: %s', async (address, message) => {
    process.env.ALL_PROXY = address;
    const error = await refusal(ID);
    expect(error).toBeInstanceOf(InvalidArgumentError);
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/ALL_PROXY/);
    expect(inspect(error)).not.toContain('secret');
  });
});

describe('https through a proxy', () => {
  it('is a tunnel, trusts NODE_EXTRA_CA_CERTS, and is not left by a redirect', async () => {
    const key = readFileSync(certificate.replace('.pem', '.key'));
    const sockets = new Set<Socket>();
    const secure = createTlsServer({ key, cert: readFileSync(certificate) }, (socket) => {
      const onward = connect(Number(new URL(hub.url).port), '127.0.0.1');
      for (const one of [socket, onward]) {
        sockets.add(one);
        one.on('error', () => undefined);
      }
      socket.pipe(onward).pipe(socket);
    });
    await new Promise<void>((done) => secure.listen(0, '127.0.0.1', done));
    proxy.tunnelTo = (secure.address() as AddressInfo).port;
    const run = async (env: object, patterns: string[]) => {
      const source = `
        import { resolveModelDir } from ${JSON.stringify(path.join(root, 'lib/hub/index.ts'))};
        resolveModelDir(${JSON.stringify(ID)}, { patterns: ${JSON.stringify(patterns)} })
          .then(() => console.log('ok'), (error) => console.log(error.name + ': ' + error.message));`;
      const bundle = path.join(cache, `child-${Math.random()}.cjs`);
      const { build } = await import('esbuild');
      await build({
        stdin: { contents: source, resolveDir: root, loader: 'ts' },
        bundle: true,
        platform: 'node',
        format: 'cjs',
        outfile: bundle,
        logLevel: 'error',
      });
      const { stdout } = await promisify(execFile)(process.execPath, [bundle], {
        env: { ...process.env, HF_ENDPOINT: 'https://hub.example', ...env },
      });
      return stdout.trim();
    };
    try {
      const env = { HTTPS_PROXY: `http://${proxy.host}`, NODE_EXTRA_CA_CERTS: certificate };
      expect(await run(env, patterns)).toBe('ok');
      expect(proxy.seen[0]).toMatchObject({ method: 'CONNECT', target: 'hub.example:443' });
      // The fake Hub keeps large files on a server without encryption.
      expect(await run(env, ['model.safetensors'])).toMatch(/^HubError: .*leave encryption/);
      const untrusted = await run(
        { ...env, NODE_EXTRA_CA_CERTS: '', HF_HUB_CACHE: path.join(cache, 'untrusted') },
        patterns,
      );
      expect(untrusted).toMatch(/^OfflineError: .*self[- ]signed certificate/);
    } finally {
      for (const socket of sockets) socket.destroy();
      secure.close();
    }
  });
});

describe('NO_PROXY', () => {
  it.each([
    ['*', 'https://huggingface.co/', true],
    ['huggingface.co', 'https://huggingface.co/', true],
    ['.huggingface.co', 'https://cdn-lfs.huggingface.co/', true],
    ['*.huggingface.co', 'https://cdn-lfs.huggingface.co/', true],
    ['huggingface.co', 'https://CDN.huggingface.co/', true],
    ['huggingface.co', 'https://nothuggingface.co/', false],
    ['huggingface.co:443', 'https://huggingface.co/', true],
    ['huggingface.co:8443', 'https://huggingface.co/', false],
    ['a.example b.example,huggingface.co', 'https://huggingface.co/', true],
    ['::1', 'http://[::1]:80/', true],
    ['[::1]:81', 'http://[::1]:81/', true],
    [', ,', 'https://huggingface.co/', false],
  ])('%j for %s', (list, url, exempt) => {
    process.env.ALL_PROXY = 'http://proxy.example:3128';
    process.env.NO_PROXY = list;
    expect(proxyFor(new URL(url)) === undefined).toBe(exempt);
  });

  it("chooses by the request's scheme", () => {
    process.env.HTTP_PROXY = 'http://a.example';
    expect(proxyFor(new URL('https://huggingface.co/'))).toBeUndefined();
    process.env.https_proxy = 'http://b.example';
    expect(proxyFor(new URL('https://huggingface.co/'))?.host).toBe('b.example');
    expect(proxyFor(new URL('http://huggingface.co/'))?.host).toBe('a.example');
  });
});
