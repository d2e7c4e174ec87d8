// Loads an addon in a child process, so that one that crashes does not take the installation along.
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { reasonOf, root, run } from './run.mjs';

const RULE = pathToFileURL(path.join(root, 'lib/native/addon-files.mjs')).href;
/** In front of the one line that is read; an addon may print too. */
const MARK = 'komt-probe:';

/**
 * @param {string} [file] this addon alone; without it the best one that loads
 * @returns {Promise<{ built?: object, file?: string, source?: string, reason?: string }>} built: what
 *   the addon says of itself; reason: why there is none
 */
export async function probe(file) {
  const load = file
    ? `const addon = createRequire(import.meta.url)(${JSON.stringify(file)}), file = ${JSON.stringify(file)}, source = '';`
    : `const { addon, file, source } = loadFirst(${JSON.stringify(root)});`;
  const { ok, output } = await run(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { createRequire } from 'node:module';
       import { loadFirst } from ${JSON.stringify(RULE)};
       ${load}
       console.log(${JSON.stringify(MARK)} + JSON.stringify(addon ? { built: addon.buildInfo(), file, source } : { reason: 'none is there' }));`,
    ],
    { echo: false },
  );
  const line = output.split('\n').find((text) => text.startsWith(MARK));
  if (ok && line) return JSON.parse(line.slice(MARK.length));
  return { reason: output.match(/^Error: (.*)$/m)?.[1] ?? reasonOf(output) };
}
