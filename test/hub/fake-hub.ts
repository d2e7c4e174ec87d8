import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A repository: what each revision is, and the files of each commit by path. */
export interface FakeRepository {
  revisions: Record<string, string>;
  commits: Record<string, Record<string, Buffer>>;
  /** Answered as the Hub does for those without access. */
  access?: 'private' | 'gated';
}

/** How the next transfer of a file goes wrong. */
export interface Fault {
  path: string;
  kind: 'cut' | 'corrupt' | 'longer' | 'unavailable' | 'hang' | 'no-ranges';
  /** Bytes that come before a cut or a hang. */
  after?: number;
}

/** A request as the servers saw it. */
export interface SeenRequest {
  server: 'hub' | 'cdn';
  path: string;
  range?: string;
  authorization?: string;
}

const PAGE = 4;
/** Files with these endings are stored as the Hub stores large files: by SHA-256, behind a redirect. */
const LARGE = /\.(safetensors|bin|model)$/;

export function sha256(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

export function gitSha1(data: Buffer): string {
  return createHash('sha1').update(`blob ${data.length}\0`).update(data).digest('hex');
}

/** The name that a file's content has in the cache. */
export function etagOf(path: string, data: Buffer): string {
  return LARGE.test(path) ? sha256(data) : gitSha1(data);
}

/**
 * A loopback server that answers as the Hub does: model info, tree listings in pages, and files, the
 * large ones through a redirect to a second server.
 */
export class FakeHub {
  readonly repositories = new Map<string, FakeRepository>();
  readonly requests: SeenRequest[] = [];
  readonly faults: Fault[] = [];
  /** Token that opens private and gated repositories. */
  token = 'hf_secret';
  /** Overrides the answer of the API, to test what is made of nonsense. */
  apiAnswer?: (path: string) => unknown;
  /** Answers in place of the Hub where it gives true. */
  intercept?: (request: IncomingMessage, response: ServerResponse) => boolean;
  private readonly hub: Server;
  private readonly cdn: Server;

  constructor() {
    this.hub = createServer((request, response) => this.serve('hub', request, response));
    this.cdn = createServer((request, response) => this.serve('cdn', request, response));
  }

  async start(): Promise<void> {
    for (const server of [this.hub, this.cdn]) {
      await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    }
  }

  async stop(): Promise<void> {
    for (const server of [this.hub, this.cdn]) {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    }
  }

  get url(): string {
    return `http://127.0.0.1:${(this.hub.address() as AddressInfo).port}`;
  }

  /** Requests for file contents, as "path range". */
  get transfers(): string[] {
    return this.requests
      .filter(({ server, path }) => server === 'cdn' || path.includes('/resolve/'))
      .filter(({ server, path }) => server === 'cdn' || !LARGE.test(path))
      .map(({ path, range }) => `${path.split('/').at(-1)}${range ? ` ${range}` : ''}`);
  }

  private serve(server: 'hub' | 'cdn', request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', this.url);
    const path = decodeURIComponent(url.pathname);
    const { range, authorization } = request.headers;
    this.requests.push({ server, path, range, authorization });
    if (this.intercept?.(request, response)) return;
    if (server === 'cdn') {
      this.serveFile(path, range, response);
      return;
    }
    const api = /^\/api\/models\/([^/]+(?:\/[^/]+)?)\/(revision|tree)\/(.+)$/.exec(path);
    const file = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path);
    const [, id = '', kind = '', rest = ''] = api ?? file ?? [];
    const repository = this.repositories.get(id);
    const open = authorization === `Bearer ${this.token}`;
    if (api && this.apiAnswer) {
      json(response, this.apiAnswer(path));
      return;
    }
    if (repository === undefined || (repository.access === 'private' && !open)) {
      refuse(response, authorization ? 404 : 401, 'RepoNotFound');
      return;
    }
    if (file && repository.access === 'gated' && !open) {
      refuse(response, authorization ? 403 : 401, 'GatedRepo', 'Access is restricted.');
      return;
    }
    if (kind === 'revision') {
      this.serveInfo(id, repository, rest, response);
      return;
    }
    if (kind === 'tree') {
      this.serveTree(repository, rest, url, response);
      return;
    }
    const [, , commit = '', name = ''] = file ?? [];
    const data = repository.commits[commit]?.[name];
    if (data === undefined) {
      refuse(response, 404, 'EntryNotFound');
      return;
    }
    if (!LARGE.test(name)) {
      this.serveFile(path, range, response);
      return;
    }
    const { port } = this.cdn.address() as AddressInfo;
    response.writeHead(302, {
      Location: `http://127.0.0.1:${port}${url.pathname}`,
      'X-Linked-ETag': `"${sha256(data)}"`,
      'X-Linked-Size': String(data.length),
      'X-Repo-Commit': commit,
    });
    response.end();
  }

  private serveInfo(id: string, repository: FakeRepository, revision: string, to: ServerResponse) {
    const sha = repository.commits[revision] ? revision : repository.revisions[revision];
    if (sha === undefined) {
      refuse(to, 404, 'RevisionNotFound');
      return;
    }
    json(to, { _id: '1', id, sha, lastModified: '2024-01-01T00:00:00.000Z', likes: 0 });
  }

  private serveTree(repository: FakeRepository, rest: string, url: URL, to: ServerResponse) {
    const [commit = '', ...folders] = rest.split('/');
    const files = repository.commits[commit];
    if (files === undefined) {
      refuse(to, 404, 'RevisionNotFound');
      return;
    }
    const prefix = folders.length > 0 ? `${folders.join('/')}/` : '';
    const entries = new Map<string, unknown>();
    for (const [path, data] of Object.entries(files)) {
      if (!path.startsWith(prefix)) continue;
      const [first = '', ...inner] = path.slice(prefix.length).split('/');
      const entryPath = prefix + first;
      const oid = gitSha1(data);
      const lfs = LARGE.test(path)
        ? { lfs: { oid: sha256(data), size: data.length, pointerSize: 130 } }
        : undefined;
      if (inner.length > 0)
        entries.set(entryPath, { type: 'directory', oid, size: 0, path: entryPath });
      else entries.set(entryPath, { type: 'file', oid, size: data.length, path, ...lfs });
    }
    if (entries.size === 0 && prefix !== '') {
      refuse(to, 404, 'EntryNotFound');
      return;
    }
    const page = Number(url.searchParams.get('cursor') ?? 0);
    const all = [...entries.values()];
    if (all.length > page + PAGE) {
      url.searchParams.set('cursor', String(page + PAGE));
      to.setHeader('Link', `<${url.href}>; rel="next"`);
    }
    json(to, all.slice(page, page + PAGE));
  }

  private serveFile(path: string, range: string | undefined, response: ServerResponse): void {
    const [, id = '', commit = '', name = ''] =
      /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(path) ?? [];
    let data = this.repositories.get(id)?.commits[commit]?.[name] as Buffer;
    response.setHeader('ETag', `"${etagOf(name, data)}"`);
    response.setHeader('X-Repo-Commit', commit);
    const index = this.faults.findIndex((fault) => fault.path === name);
    const [fault] = index < 0 ? [] : this.faults.splice(index, 1);
    if (fault?.kind === 'unavailable') {
      refuse(response, 503);
      return;
    }
    let start = 0;
    const size = data.length;
    if (range !== undefined && fault?.kind !== 'no-ranges') {
      start = Number(/^bytes=(\d+)-$/.exec(range)?.[1]);
      response.setHeader('Content-Range', `bytes ${start}-${size - 1}/${size}`);
      response.statusCode = 206;
    }
    data = Buffer.from(data.subarray(start));
    if (fault?.kind === 'corrupt') data[data.length - 1] = (data.at(-1) as number) ^ 1;
    if (fault?.kind === 'longer') data = Buffer.concat([data, Buffer.of(0)]);
    response.setHeader('Content-Length', data.length);
    if (fault?.kind !== 'cut' && fault?.kind !== 'hang') {
      response.end(data);
      return;
    }
    response.write(data.subarray(0, fault.after ?? 0), () => {
      if (fault.kind === 'cut') setTimeout(() => response.destroy(), 20);
    });
  }
}

function json(response: ServerResponse, value: unknown): void {
  response.setHeader('Content-Type', 'application/json');
  response.end(JSON.stringify(value));
}

function refuse(response: ServerResponse, status: number, code?: string, message?: string): void {
  response.statusCode = status;
  if (code !== undefined) response.setHeader('X-Error-Code', code);
  if (message !== undefined) response.setHeader('X-Error-Message', message);
  json(response, { error: message ?? code ?? 'no' });
}
