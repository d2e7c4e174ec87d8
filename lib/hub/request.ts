import { setTimeout as delay } from 'node:timers/promises';
import {
  type ErrorDetails,
  FileNotFoundError,
  GatedRepositoryError,
  HubError,
  KomtError,
  OfflineError,
  RepositoryNotFoundError,
  RevisionNotFoundError,
  throwIfAborted,
} from '../errors.js';
import {
  MAX_REDIRECTS,
  MAX_RETRY_AFTER,
  RETRY_DELAYS,
  type TimeoutVariable,
  timeoutOf,
} from './limits.js';
import { fetchThrough, proxyFor, proxyName } from './proxy.js';
import { Watch } from './watch.js';

/** Where requests go, for what, and on whose behalf. */
export interface HubTarget {
  /** Address without a slash at the end. */
  endpoint: string;
  /** Repository id. */
  repo: string;
  revision: string;
  token?: string;
  signal?: AbortSignal;
}

/** The network failed before an answer came, or broke the answer off: worth another try, or the cache. */
export class ConnectionError extends OfflineError {}

/** The server's trouble, not the request's: worth another try. */
export class TemporaryHubError extends HubError {
  /** Milliseconds that the server wants to be left alone for. */
  readonly retryAfter: number;
  constructor(message: string, details: ErrorDetails & { retryAfter: number }) {
    super(message, details);
    this.retryAfter = details.retryAfter;
  }
}

function retryAfter(response: Response): number {
  const seconds = Number(response.headers.get('Retry-After') ?? 0);
  return seconds > 0 ? Math.min(seconds * 1000, MAX_RETRY_AFTER) : 0;
}

/** What an HTTP status and the Hub's X-Error-Code mean; as in huggingface_hub's `hf_raise_for_status`. */
function responseError(response: Response, url: URL, target: HubTarget): KomtError {
  const { repo, revision, token } = target;
  const code = response.headers.get('X-Error-Code');
  const { status } = response;
  const details = {
    subject: repo,
    found: `HTTP ${status}${said(response)}`,
  };
  if (code === 'RevisionNotFound') {
    return new RevisionNotFoundError(`${repo} has no revision ${revision}`, {
      ...details,
      remedy: 'Give a branch, a tag or a commit of the repository.',
    });
  }
  if (code === 'EntryNotFound') {
    return new FileNotFoundError(`${repo} has no such file at revision ${revision}`, {
      ...details,
      file: readable(url.pathname),
    });
  }
  if (code === 'GatedRepo' || (status === 403 && code === null)) {
    return new GatedRepositoryError(`Access to ${repo} must be granted by its owner`, {
      ...details,
      remedy:
        `Accept its terms at ${target.endpoint}/${repo}, and ` +
        (token === undefined
          ? 'log in: set HF_TOKEN or pass token.'
          : 'use a token that may read gated repositories.'),
    });
  }
  if (code === 'RepoNotFound' || status === 401 || status === 404) {
    return new RepositoryNotFoundError(`There is no repository ${repo} that you may see`, {
      ...details,
      remedy:
        'Check its name. ' +
        (token === undefined
          ? 'If it is private, set HF_TOKEN or pass token.'
          : 'If it is private, check that the token is valid and may read it.'),
    });
  }
  if (status === 429 || status >= 500) {
    return new TemporaryHubError(`The Hub did not serve ${repo}`, {
      ...details,
      remedy: 'Try again later.',
      retryAfter: retryAfter(response),
    });
  }
  return new HubError(`The Hub refused a request for ${repo}`, details);
}

function readable(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

function said(response: Response): string {
  const message = response.headers.get('X-Error-Message');
  return message === null ? '' : `: ${message.slice(0, 300)}`;
}

/** What a failed `fetch` or a broken body means. */
function connectionError(error: unknown, target: HubTarget, proxy: URL | undefined): Error {
  if (error instanceof KomtError) return error;
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const what = cause instanceof Error ? cause.message || cause.name : String(cause);
  const way = proxy === undefined ? '' : `, through the proxy ${proxyName(proxy)}`;
  return new ConnectionError(`${target.endpoint} cannot be reached for ${target.repo}`, {
    subject: target.repo,
    found: `${what.replace(/\s+/g, ' ').trim()}${way}`,
    remedy: 'Check the network connection, a proxy, and HF_ENDPOINT.',
    cause: error,
  });
}

/** The server, or the way to it, was silent for too long. */
function silence(target: HubTarget, variable: TimeoutVariable, timeout: number): ConnectionError {
  return new ConnectionError(`${target.endpoint} was silent for ${timeout / 1000} s`, {
    subject: target.repo,
    found: `nothing for ${timeout / 1000} s (${variable})`,
    remedy: `Check the network connection, or set ${variable} to more seconds.`,
  });
}

function redirectError(target: HubTarget, what: string, found: string): HubError {
  return new HubError(`The Hub's redirects for ${target.repo} ${what}`, {
    subject: target.repo,
    found,
    remedy: 'Check HF_ENDPOINT, and proxies on the way.',
  });
}

/** Where a redirect leads; undefined for an answer that is none. */
function redirection(response: Response, from: URL, target: HubTarget): URL | undefined {
  const location = response.headers.get('Location');
  if (![301, 302, 303, 307, 308].includes(response.status) || location === null) return undefined;
  const to = URL.canParse(location, from.href) ? new URL(location, from) : undefined;
  if (to === undefined || !/^https?:$/.test(to.protocol)) {
    throw redirectError(target, 'lead to no server', location.slice(0, 100));
  }
  if (from.protocol === 'https:' && to.protocol === 'http:') {
    throw redirectError(target, 'leave encryption', `${to.protocol}//${to.host}`);
  }
  return to;
}

/** An answer that is a success, and its body as it comes. */
export interface HubResponse {
  status: number;
  headers: Headers;
  /**
   * Ends with an error when the server is silent for too long, and at once when the signal fires.
   * To be read to its end or returned from.
   */
  body: AsyncIterable<Uint8Array>;
}

/**
 * One request for a target: sends the token to the Hub's own address only, follows redirects, and throws
 * the library's errors for everything but success.
 * @param timeout the variable that says how long each wait for the server may take.
 * @throws HubError and its subclasses (ConnectionError, TemporaryHubError), AbortError
 */
export async function request(
  target: HubTarget,
  address: string,
  timeoutVariable: TimeoutVariable,
  init: Record<string, string> = {},
): Promise<HubResponse> {
  throwIfAborted(target.signal);
  const timeout = timeoutOf(timeoutVariable);
  const watch = new Watch(target.signal, {
    milliseconds: timeout,
    error: () => silence(target, timeoutVariable, timeout),
  });
  const hub = new URL(target.endpoint).origin;
  let url = new URL(address);
  let proxy: URL | undefined;
  try {
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      proxy = proxyFor(url);
      const send = proxy === undefined ? fetch : await fetchThrough(proxy);
      const headers = new Headers(init);
      if (target.token !== undefined && url.origin === hub) {
        headers.set('Authorization', `Bearer ${target.token}`);
      }
      const options = { headers, signal: watch.signal, redirect: 'manual' as const };
      const response = await watch.during(() => send(url, options));
      if (response.ok) {
        const body = read(response, watch, (error) => connectionError(error, target, proxy));
        return { status: response.status, headers: response.headers, body };
      }
      await response.body?.cancel().catch(() => undefined);
      const next = redirection(response, url, target);
      if (next === undefined) throw responseError(response, new URL(address), target);
      url = next;
    }
    throw redirectError(target, 'do not end', `more than ${MAX_REDIRECTS}`);
  } catch (error) {
    watch.stop();
    throw connectionError(error, target, proxy);
  }
}

async function* read(
  response: Response,
  watch: Watch,
  reword: (error: unknown) => Error,
): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  try {
    while (reader !== undefined) {
      const { done, value } = await watch.during(() => reader.read());
      if (done) break;
      yield value;
    }
  } catch (error) {
    throw reword(error);
  } finally {
    watch.stop();
    // Frees the connection on the way out of an error; after the end it does nothing.
    await reader?.cancel().catch(() => undefined);
  }
}

/** True for what another try may mend. */
export function isTemporary(error: unknown): error is ConnectionError | TemporaryHubError {
  return error instanceof ConnectionError || error instanceof TemporaryHubError;
}

/**
 * Waits before the next try, at least as long as the server asked for; false if there have been enough.
 * @param failures tries that failed in a row
 * @throws AbortError
 */
export async function waitToRetry(
  target: HubTarget,
  failures: number,
  error: ConnectionError | TemporaryHubError,
): Promise<boolean> {
  const wait = RETRY_DELAYS[failures - 1];
  if (wait === undefined) return false;
  const wanted = error instanceof TemporaryHubError ? error.retryAfter : 0;
  const watch = new Watch(target.signal);
  try {
    await watch.during(() => delay(Math.max(wait, wanted), undefined, { signal: watch.signal }));
  } finally {
    watch.stop();
  }
  return true;
}
