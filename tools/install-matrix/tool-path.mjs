// A PATH of one's own making: everything the machine has, but for what is hidden, and a chosen Node and npm.
import { mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const REPLACED = new Set(['node', 'npm', 'npx', 'corepack', 'node-gyp']);

/**
 * @param {string} folder made anew: holds links to every program but the hidden ones
 * @param {{ node: string, npm: string, npx: string, hide?: RegExp }} choice node: the binary; npm, npx:
 *   their scripts; hide: names that are left out
 * @returns the folder, which is the whole PATH
 */
export function toolPath(folder, { node, npm, npx, hide }) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const seen = new Set();
  for (const place of process.env.PATH.split(path.delimiter)) {
    if (place.includes('node_modules')) continue;
    let names;
    try {
      names = readdirSync(place);
    } catch {
      continue; // PATH may name what is not there
    }
    for (const name of names) {
      if (seen.has(name) || REPLACED.has(name) || hide?.test(name)) continue;
      seen.add(name);
      symlinkSync(path.join(place, name), path.join(folder, name));
    }
  }
  symlinkSync(node, path.join(folder, 'node'));
  for (const [name, script] of Object.entries({ npm, npx })) {
    const text = `#!/bin/sh\nexec "${node}" "${script}" "$@"\n`;
    writeFileSync(path.join(folder, name), text, { mode: 0o755 });
  }
  return folder;
}
