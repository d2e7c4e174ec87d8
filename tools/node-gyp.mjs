// Builds the addon with the node-gyp that npm carries: the CPU backend, where CMake cannot.
import { existsSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { root, run } from './run.mjs';

const NODE_GYP = 'node-gyp/bin/node-gyp.js';

/** The folders of every npm that can be thought of: the one that runs this, Node's own, the one on PATH. */
function npmFolders() {
  const node = path.dirname(realpathSync(process.execPath));
  const commands = (process.env.PATH ?? '')
    .split(path.delimiter)
    .map((folder) => path.join(folder, 'npm'))
    .filter(existsSync)
    .map((file) => realpathSync(file));
  return [
    // .../npm/bin/npm-cli.js
    ...[process.env.npm_execpath, ...commands]
      .filter(Boolean)
      .map((file) => path.resolve(file, '../..')),
    path.resolve(node, '../lib/node_modules/npm'),
    path.resolve(node, 'node_modules/npm'),
  ];
}

/** Path of a node-gyp: the package manager's, npm's, or one that is installed beside komt. */
export function findNodeGyp() {
  const own = process.env.npm_config_node_gyp;
  if (own && existsSync(own)) return own;
  for (const folder of npmFolders()) {
    const file = path.join(folder, 'node_modules', NODE_GYP);
    if (existsSync(file)) return file;
  }
  try {
    return createRequire(path.join(root, 'package.json')).resolve(NODE_GYP);
  } catch {
    return undefined;
  }
}

/** Configures and builds binding.gyp into build/Release. */
export async function buildWithNodeGyp() {
  const nodeGyp = findNodeGyp();
  if (!nodeGyp) {
    return { ok: false, output: 'there is no node-gyp: npm carries one, and no npm was found' };
  }
  // binding.gyp asks `node` for folders; any will do, and there is at least this one.
  const PATH = [process.env.PATH, path.dirname(process.execPath)].join(path.delimiter);
  // Headers come from node-api-headers, as they do for CMake, so that none are downloaded. On Windows an
  // import library belongs to them, which node-gyp fetches. As variables, for npm hands on the user's
  // configuration as such, and node-gyp prefers them to arguments.
  const headers =
    process.platform === 'win32'
      ? {}
      : {
          npm_config_nodedir: path.join(root, 'native/gyp'),
          npm_config_force_process_config: 'true',
        };
  return run(
    process.execPath,
    [nodeGyp, 'configure', 'build', `--jobs=${os.availableParallelism()}`],
    { env: { PATH, ...headers } },
  );
}
