// Configures and builds with CMake: the addon of an installation, and the tests of a clone.
import { spawnSync } from 'node:child_process';
import { readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { root, run } from './run.mjs';

const require = createRequire(import.meta.url);

/** That of CMakeLists.txt. */
const MINIMUM_CMAKE = [3, 22];

/** The version of the CMake on PATH, or why there is none to use. */
export async function findCMake() {
  const { ok, output } = await run('cmake', ['--version'], { echo: false });
  if (!ok) return { problem: 'CMake is not on PATH' };
  const [version, major, minor] = /(\d+)\.(\d+)[.\d]*/.exec(output) ?? [];
  const enough =
    Number(major) > MINIMUM_CMAKE[0] ||
    (Number(major) === MINIMUM_CMAKE[0] && Number(minor) >= MINIMUM_CMAKE[1]);
  if (enough) return { version };
  return { problem: `CMake ${version} is too old: ${MINIMUM_CMAKE.join('.')} or newer is needed` };
}

/** The options that make CMakeLists.txt build an addon and not the engine alone. */
export function addonOptions() {
  const folder = (name) => path.dirname(require.resolve(`${name}/package.json`));
  const headers = [path.join(folder('node-api-headers'), 'include'), folder('node-addon-api')];
  // Node's own architecture, which need not be the machine's.
  const apple = process.arch === 'x64' ? 'x86_64' : process.arch;
  return [
    ...(process.platform === 'darwin' ? [`-DCMAKE_OSX_ARCHITECTURES=${apple}`] : []),
    `-DKOMT_NODE_HEADERS=${headers.join(';').replaceAll('\\', '/')}`,
    // With its configuration in the name: generators of several configurations add none of their own.
    `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY_RELEASE=${path.join(root, 'build/Release').replaceAll('\\', '/')}`,
  ];
}

/**
 * What CMake remembers of options and compilers; compiled objects stay. With it, an option that is no
 * longer given would go on, and a compiler that was installed since would not be found.
 */
export function forget(folder) {
  rmSync(path.join(root, folder, 'CMakeCache.txt'), { force: true });
  const files = path.join(root, folder, 'CMakeFiles');
  try {
    for (const name of readdirSync(files)) {
      if (/^\d+\.\d+/.test(name)) rmSync(path.join(files, name), { recursive: true, force: true });
    }
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
  }
}

/**
 * Configures and builds, with Ninja where it is there and as many jobs as the machine has cores
 * (CMAKE_BUILD_PARALLEL_LEVEL).
 *
 * @param source folder of the CMakeLists.txt; like `folder` relative to the repository
 * @param options of the configuration, such as '-DKOMT_EMULATED=ON'
 * @param targets what to build; everything without them
 * @returns whether both succeeded, and what they printed
 */
export async function build(source, folder, options, targets = []) {
  const ninja = spawnSync('ninja', ['--version']).status === 0 && !process.env.CMAKE_GENERATOR;
  const generator = ninja ? ['-G', 'Ninja'] : [];
  const configured = await run('cmake', ['-S', source, '-B', folder, ...generator, ...options]);
  if (!configured.ok) return configured;
  const jobs = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? String(os.availableParallelism());
  const built = await run('cmake', [
    ...['--build', folder, '--config', 'Release', '--parallel', jobs],
    ...targets.flatMap((name) => ['--target', name]),
  ]);
  return { ok: built.ok, output: configured.output + built.output };
}
