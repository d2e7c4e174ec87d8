// Builds build/Release/komt_emulated.node: the addon whose CUDA runs on the host (cuda/emulator).
//   node tools/build-emulated.mjs [fast|asan]
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const mode = process.argv[2] ?? 'fast';

function cmake(...args) {
  const { status, error } = spawnSync('cmake', args, { cwd: root, stdio: 'inherit' });
  if (status === 0) return;
  console.error(error ? `cmake could not be started: ${error.message}` : `cmake ${args[0]} failed`);
  process.exit(1);
}

const build = `build/emulated-${mode}`;
cmake(
  '-S',
  '.',
  '-B',
  build,
  '-DKOMT_EMULATED=ON',
  `-DKOMT_EMULATOR_MODE=${mode}`,
  `-DCMAKE_JS_INC=${require('node-api-headers').include_dir}`,
  `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${path.join(root, 'build/Release')}`,
  ...(spawnSync('ninja', ['--version']).status === 0 ? ['-G', 'Ninja'] : []),
);
const jobs = process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? String(os.availableParallelism());
cmake('--build', build, '--parallel', jobs);
