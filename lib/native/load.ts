import { NativeLoadError } from '../errors.js';
import { warnOnce } from '../warnings.js';
import type { BuildInfo, DeviceInfo, NativeAddon } from './addon.js';
import { loadFirst, type Tried } from './addon-files.mjs';
import { readBuildRecord } from './build-record.js';
import { loadRemedies } from './load-remedies.js';
import { packageRoot } from './package-root.js';

const addons = new Map<string, NativeAddon>();

function describe({ source, file, reason }: Tried): string {
  return `  ${file ?? source}: ${reason}`;
}

/**
 * The native addon, loaded once per environment.
 * @param name 'komt', or 'komt_emulated' for the build whose CUDA is emulated on the host
 * @throws {NativeLoadError} listing every place tried and what to do
 */
export function loadAddon(name: 'komt' | 'komt_emulated' = 'komt'): NativeAddon {
  const loaded = addons.get(name);
  if (loaded) return loaded;
  const root = packageRoot();
  const { addon, file, tried } = loadFirst(root, name);
  if (!addon) {
    const remedies =
      name === 'komt'
        ? [
            ...loadRemedies(tried, readBuildRecord(root)),
            'npx komt inspect shows all that is known about this installation',
          ]
        : ['npm run build:emulated, in a clone of the repository'];
    throw new NativeLoadError(
      `The native addon could not be loaded on ${process.platform}-${process.arch}, Node ${process.version}. Tried:\n` +
        `${tried.map(describe).join('\n')}\nRemedies:\n${remedies.map((text, i) => `  ${i + 1}. ${text}`).join('\n')}`,
    );
  }
  const [wanted] = tried;
  if (wanted?.source === 'KOMT_ADDON' && wanted.reason !== undefined) {
    warnOnce(
      `KOMT_ADDON=${process.env.KOMT_ADDON} was not loaded (${wanted.reason}); using ${file}`,
    );
  }
  addons.set(name, addon);
  return addon;
}

/** What this installation's addon was built with. */
export function buildInfo(): BuildInfo {
  return loadAddon().buildInfo();
}

/** The devices that can be used now. */
export function listDevices(): DeviceInfo[] {
  return loadAddon().devices();
}
