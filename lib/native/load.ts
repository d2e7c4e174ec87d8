import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { NativeLoadError } from '../errors.js';
import type { BuildInfo, DeviceInfo, NativeAddon } from './addon.js';

/** This file ends up in dist/, one level below the package's root; from lib/native it is two. */
const here = path.dirname(fileURLToPath(import.meta.url));
const root =
  path.basename(here) === 'native' ? path.resolve(here, '../..') : path.resolve(here, '..');
const require = createRequire(path.join(root, 'package.json'));

const addons = new Map<string, NativeAddon>();

/** Where an addon may lie, best first; the same rule as tools/addon-paths.cjs. */
function candidates(name: string): string[] {
  const list: string[] = [];
  if (name === 'komt' && process.env.KOMT_ADDON) list.push(path.resolve(process.env.KOMT_ADDON));
  list.push(
    path.join(root, `build/Release/${name}.node`),
    path.join(root, `build/Debug/${name}.node`),
  );
  if (name === 'komt') list.push(`@komt/${process.platform}-${process.arch}`);
  return list;
}

/**
 * The native addon, loaded once per environment.
 * @param name 'komt', or 'komt_emulated' for the build whose CUDA is emulated on the host
 * @throws {NativeLoadError} listing every place tried and what to do
 */
export function loadAddon(name: 'komt' | 'komt_emulated' = 'komt'): NativeAddon {
  const loaded = addons.get(name);
  if (loaded) return loaded;
  const failures: string[] = [];
  for (const file of candidates(name)) {
    try {
      const addon = require(file) as NativeAddon;
      addons.set(name, addon);
      return addon;
    } catch (error) {
      failures.push(`  ${file}: ${(error as Error).message.split('\n')[0]}`);
    }
  }
  const remedies =
    name === 'komt'
      ? [
          '  1. npm rebuild komt        (your npm may have blocked install scripts; needs CMake or Python, and a C++20 compiler)',
          `  2. npm i @komt/${process.platform}-${process.arch}   (a published binary, where there is one)`,
          '  3. set KOMT_ADDON to the path of a komt.node built for this Node and platform',
        ]
      : ['  1. npm run build:emulated  (in a clone of the repository)'];
  throw new NativeLoadError(
    `The native addon could not be loaded on ${process.platform}-${process.arch}, Node ${process.version}. Tried:\n` +
      `${failures.join('\n')}\nRemedies:\n${remedies.join('\n')}`,
  );
}

/** What this installation's addon was built with. */
export function buildInfo(): BuildInfo {
  return loadAddon().buildInfo();
}

/** The devices that can be used now. */
export function listDevices(): DeviceInfo[] {
  return loadAddon().devices();
}
