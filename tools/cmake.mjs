import { spawnSync } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

function cmake(...args) {
  const { status, error } = spawnSync('cmake', args, { cwd: root, stdio: 'inherit' });
  if (error) console.error(`cmake could not be started: ${error.message}`);
  return status === 0;
}

/**
 * Configures and builds, with Ninja where it is there and as many jobs as the machine has cores
 * (CMAKE_BUILD_PARALLEL_LEVEL).
 *
 * @param source folder of the CMakeLists.txt; like `folder` relative to the repository
 * @param options of the configuration, such as '-DKOMT_EMULATED=ON'
 * @param targets what to build; everything without them
 * @returns whether both succeeded
 */
export function build(source, folder, options, targets = []) {
  const generator = spawnSync('ninja', ['--version']).status === 0 ? ['-G', 'Ninja'] : [];
  const jobs = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? String(os.availableParallelism());
  return (
    cmake('-S', source, '-B', folder, ...generator, ...options) &&
    cmake('--build', folder, '--parallel', jobs, ...targets.flatMap((name) => ['--target', name]))
  );
}
