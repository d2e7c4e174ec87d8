// A package registry on loopback, with as much of the protocol as `npm publish` and `npm install` speak.
// It knows the packages that are published to it; all others are those of the registry that npm is
// configured with. Names of ours are never asked for there: anybody may have registered them.
import { createServer } from 'node:http';
import { call } from './call.mjs';

/** A published addon, in base64, with room. */
const MAX_BODY_BYTES = 64e6;

async function readJson(request) {
  const pieces = [];
  let bytes = 0;
  for await (const piece of request) {
    bytes += piece.length;
    if (bytes > MAX_BODY_BYTES) throw new Error(`more than ${MAX_BODY_BYTES} bytes published`);
    pieces.push(piece);
  }
  return JSON.parse(Buffer.concat(pieces).toString());
}

/**
 * @param {string[]} own names that are looked for here only
 * @returns {Promise<{ url: string, published: Map<string, object>, close: () => Promise<void> }>}
 */
export async function startRegistry(own) {
  const upstream = (await call('npm', ['config', 'get', 'registry'])).trim();
  /** Packuments and tarballs, by name and by path. */
  const published = new Map();
  const tarballs = new Map();

  /** What `npm publish` sends: the packument, with the tarball in it. */
  function accept({ name, versions, 'dist-tags': tags, _attachments: attachments }) {
    const packument = published.get(name) ?? { name, versions: {}, 'dist-tags': {} };
    for (const [version, manifest] of Object.entries(versions)) {
      if (packument.versions[version]) throw new Error(`${name}@${version} is published already`);
      const file = `/${name}/-/${name}-${version}.tgz`;
      const [attachment] = Object.values(attachments);
      tarballs.set(file, Buffer.from(attachment.data, 'base64'));
      manifest.dist.tarball = new URL(file, url).href;
      packument.versions[version] = manifest;
    }
    Object.assign(packument['dist-tags'], tags);
    published.set(name, packument);
  }

  async function answer(request, response) {
    const file = decodeURIComponent(new URL(request.url, url).pathname);
    const name = file.slice(1).split('/-/')[0];
    if (request.method === 'PUT') {
      accept(await readJson(request));
      response.writeHead(201).end('{}');
    } else if (tarballs.has(file)) {
      response.end(tarballs.get(file));
    } else if (published.has(name)) {
      response.end(JSON.stringify(published.get(name)));
    } else if (own.includes(name) || request.method !== 'GET') {
      response.writeHead(404).end('{}');
    } else {
      const { accept: type = '*/*' } = request.headers;
      const theirs = await fetch(new URL(request.url.slice(1), upstream), {
        headers: { accept: type },
      });
      response.writeHead(theirs.status).end(Buffer.from(await theirs.arrayBuffer()));
    }
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error) => response.writeHead(500).end(error.message));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}/`;
  return {
    url,
    published,
    close: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      }),
  };
}
