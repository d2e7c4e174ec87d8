import type { ProxyAgent } from 'undici';
import { InvalidArgumentError } from '../errors.js';

/*
 * Proxies as curl and Python's requests choose them. Node's own fetch reads no such variables by default,
 * and takes no dispatcher of another version of undici: a request through a proxy is the npm package's.
 */

function variable(name: string): string {
  return process.env[name.toLowerCase()] || process.env[name.toUpperCase()] || '';
}

/** True where NO_PROXY names the host: itself, one of its parent domains, either with a port, or `*`. */
function isExempt(url: URL): boolean {
  const host = url.hostname.toLowerCase().replace(/^\[|\]$/g, '');
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return variable('no_proxy')
    .toLowerCase()
    .split(/[,\s]+/)
    .some((entry) => {
      const [, name = entry, wantedPort = port] = /^(\[.+\]|[^:]+):(\d+)$/.exec(entry) ?? [];
      const domain = name.replace(/^\[|\]$/g, '').replace(/^\*?\.?/, '');
      if (entry === '*') return true;
      return domain !== '' && wantedPort === port && `.${host}`.endsWith(`.${domain}`);
    });
}

/**
 * The proxy for requests to `url`: HTTPS_PROXY or HTTP_PROXY by its scheme, else ALL_PROXY, unless
 * NO_PROXY names the host. Lower-case names come first.
 * @throws InvalidArgumentError for an address that is none, or of a kind that is not spoken; without its
 * user and password.
 */
export function proxyFor(url: URL): URL | undefined {
  const scheme = url.protocol === 'https:' ? 'https_proxy' : 'http_proxy';
  const name = variable(scheme) ? scheme : 'all_proxy';
  const address = variable(name);
  if (address === '' || isExempt(url)) return undefined;
  const full = address.includes('://') ? address : `http://${address}`;
  const proxy = URL.canParse(full) ? new URL(full) : undefined;
  if (proxy !== undefined && /^https?:$/.test(proxy.protocol)) return proxy;
  throw new InvalidArgumentError(`${name.toUpperCase()} names no proxy that can be used`, {
    subject: name.toUpperCase(),
    expected: 'the address of an HTTP proxy, such as http://host:3128',
    found: proxy === undefined ? 'no address' : `a ${proxy.protocol.slice(0, -1)} proxy`,
    remedy: `Set ${name.toUpperCase()} to an HTTP proxy, or name the host in NO_PROXY.`,
  });
}

/** A proxy's address as a message may show it. */
export function proxyName(proxy: URL): string {
  return `${proxy.protocol}//${proxy.host}`;
}

const agents = new Map<string, ProxyAgent>();

/** `fetch` by way of `proxy`: https through a tunnel, http by forwarding. */
export async function fetchThrough(proxy: URL): Promise<typeof fetch> {
  const undici = await import('undici');
  const { href, username, password } = proxy;
  let agent = agents.get(href);
  if (agent === undefined) {
    const user = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    const token = username === '' ? undefined : `Basic ${Buffer.from(user).toString('base64')}`;
    agent = new undici.ProxyAgent({ uri: proxyName(proxy), token, proxyTunnel: false });
    agents.set(href, agent);
  }
  const dispatcher = agent;
  return ((url: URL, init: object) => undici.fetch(url, { ...init, dispatcher })) as typeof fetch;
}
