// Runs on `npm install`: makes sure that an addon loads, building it where none does.
//   1. an addon that loads already (a platform package, or an earlier build) -> done
//   2. CMake and a C++ compiler -> cmake-js (CPU, and CUDA where a toolkit is found)
//   3. otherwise node-gyp (CPU only)
// `--force` builds even if one loads; KOMT_SKIP_BUILD=1 does nothing at all.
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const require = createRequire(import.meta.url);
const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const force = process.argv.includes('--force');

/** Loads the addon in a child process, so that one that crashes does not take the installation along. */
function probe() {
  const script = `
    const { candidates } = require(${JSON.stringify(path.join(root, 'tools/addon-paths.cjs'))});
    for (const file of candidates()) {
      try { const a = require(file); console.log(JSON.stringify({ file, ...a.buildInfo() })); process.exit(0); } catch {}
    }
    process.exit(1);`;
  const result = spawnSync(process.execPath, ['-e', script], { cwd: root, encoding: 'utf8' });
  return result.status === 0 ? JSON.parse(result.stdout.trim().split('\n').at(-1)) : null;
}

function run(command, args, env = {}) {
  const result = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...env },
  });
  return result.status === 0;
}

function available(command) {
  return spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;
}

function buildWithCMake() {
  const args = [require.resolve('cmake-js/bin/cmake-js')];
  // cmake-js configures only where there is no cache, and its `reconfigure` removes all of build/.
  rmSync(path.join(root, 'build/CMakeCache.txt'), { force: true });
  args.push('configure');
  for (const name of ['KOMT_CUDA', 'KOMT_CUDA_ARCHS']) {
    if (process.env[name]) args.push(`--CD${name}=${process.env[name]}`);
  }
  const jobs =
    process.env.CMAKE_BUILD_PARALLEL_LEVEL ?? String(Math.max(1, os.availableParallelism()));
  if (!run(process.execPath, args)) return false;
  return run(process.execPath, [args[0], 'build'], { CMAKE_BUILD_PARALLEL_LEVEL: jobs });
}

function buildWithGyp() {
  return run(process.execPath, [
    require.resolve('node-gyp/bin/node-gyp.js'),
    'rebuild',
    `--jobs=${os.availableParallelism()}`,
  ]);
}

function main() {
  if (process.env.KOMT_SKIP_BUILD) return;
  let built = force ? null : probe();
  if (!built) {
    const ok = (available('cmake') && buildWithCMake()) || buildWithGyp();
    built = ok ? probe() : null;
  }
  if (!built) {
    console.error(
      [
        'komt: no native addon could be built for this machine. Remedies:',
        '  1. install a C++20 compiler (g++ 12, clang 14, MSVC 2022) and CMake 3.22 or newer, then run: npm rebuild komt',
        '  2. use a platform for which komt publishes binaries (Linux x64)',
        '  3. read the compiler output above; KOMT_CUDA=OFF leaves the CUDA backend out',
      ].join('\n'),
    );
    process.exitCode = 1;
    return;
  }
  const cuda = built.cudaArchitectures ? ` (CUDA for ${built.cudaArchitectures})` : '';
  console.log(`komt: ${built.backends.join(' + ')}${cuda}, ${path.relative(root, built.file)}`);
}

main();
