import { platformPackage, type Tried } from './addon-files.mjs';
import type { BuildRecord } from './build-record.js';

const COMPILER = 'a C++20 compiler (g++ 12, clang 14 or MSVC 2022) and CMake 3.22 or newer';

/**
 * What a user can do where no addon loads, the most likely first.
 *
 * @param tried every place, with the reason
 * @param record what the install script wrote; undefined where it has not run
 */
export function loadRemedies(tried: readonly Tried[], record: BuildRecord | undefined): string[] {
  const remedies: string[] = [];
  if (
    tried.some(({ source, reason }) => source === platformPackage() && reason === 'not installed')
  ) {
    remedies.push(
      `npm install --include=optional brings ${platformPackage()}, the compiled addon for this platform`,
    );
  }
  if (record === undefined) {
    remedies.push(
      `nothing was built here, for npm holds install scripts back (npm 12 does so by itself; so do --ignore-scripts and KOMT_SKIP_BUILD): npx komt build builds the addon now; it needs ${COMPILER}`,
      'with npm 12, to let the script run now and later: npm install-scripts approve komt, then npm rebuild komt',
    );
  } else if (record.ok) {
    remedies.push('npx komt build builds the addon again, for this system and this Node');
  } else {
    const [last] = record.attempts.slice(-1);
    remedies.push(
      `the last build failed (${last?.how}: ${last?.reason}): install ${COMPILER}, then npx komt build`,
    );
  }
  remedies.push('KOMT_ADDON can name a komt.node that was built elsewhere');
  return remedies;
}
