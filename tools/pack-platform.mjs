// Makes the package that carries a compiled addon: build/packed/komt-linux-x64-VERSION.tgz.
//
//   node tools/pack-platform.mjs
//
// Linux x64, from a Linux x64 machine with CMake, g++, binutils and a CUDA toolkit; zig, which compiles
// all but the kernels, comes from the npm registry. KOMT_CUDA_ARCHS chooses architectures (default: all
// that are supported, and PTX). What is built is checked before it is packed: that it loads on the
// oldest supported system, what it exports, and its size.
import { copyFileSync, mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { addonOptions, build } from './cmake.mjs';
import { ARCHITECTURES, PTX_ARCHITECTURE } from './cuda-architectures.mjs';
import { addonProblems, GLIBC_FLOOR, glibcNeeded } from './release/addon-checks.mjs';
import { call, PACKED, readManifest, root } from './release/call.mjs';
import { bringZig } from './release/zig.mjs';

const NAME = 'komt-linux-x64';
const BUILD = 'build/platform';

const archs =
  process.env.KOMT_CUDA_ARCHS ||
  [...ARCHITECTURES.map((arch) => `${arch}-real`), `${PTX_ARCHITECTURE}-virtual`].join(';');

async function buildAddon() {
  process.env.KOMT_ZIG = await bringZig();
  process.env.ZIG_GLOBAL_CACHE_DIR = path.join(root, 'build/zig/cache');
  const { ok } = await build(
    '.',
    BUILD,
    [
      `-DCMAKE_TOOLCHAIN_FILE=${path.join(root, 'tools/zig/toolchain.cmake')}`,
      `-DKOMT_TOOLCHAIN_SOURCES=${path.join(root, 'tools/zig/fstat.cpp')}`,
      ...addonOptions(),
      // In place of what addonOptions names.
      `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY_RELEASE=${path.join(root, BUILD)}`,
      '-DKOMT_CUDA=ON',
      `-DKOMT_CUDA_ARCHS=${archs}`,
    ],
    ['komt'],
  );
  if (!ok) throw new Error('the addon was not built');
  return path.join(root, BUILD, 'komt.node');
}

/** What the addon says of itself, from a process of its own. */
async function buildInfo(addon) {
  const script = 'console.log(JSON.stringify(require(process.argv[1]).buildInfo()))';
  return JSON.parse(await call(process.execPath, ['-e', script, addon]));
}

async function check(addon, version) {
  const problems = await addonProblems(addon);
  const info = await buildInfo(addon);
  if (info.version !== version) problems.push(`built as ${info.version}; expected ${version}`);
  if (info.backends.join() !== 'cpu,cuda') {
    problems.push(`has ${info.backends.join(', ')}; expected cpu, cuda`);
  }
  if (info.cudaArchitectures !== archs.replaceAll(';', ', ')) {
    problems.push(`has kernels for ${info.cudaArchitectures}; expected ${archs}`);
  }
  if (problems.length > 0) {
    throw new Error(`${addon} must not be published:\n  ${problems.join('\n  ')}`);
  }
  return info;
}

function readme({ version, cudaArchitectures, compiler }) {
  return `# ${NAME}

The compiled addon of the package komt ${version} for Linux x64 with glibc
${GLIBC_FLOOR} or newer: CPU, and CUDA (${cudaArchitectures}). komt installs it by itself and loads no
other version of it.

Compiled with ${compiler}.
Linked in: LLVM's libc++, libc++abi and libunwind (Apache-2.0 with LLVM exceptions), and NVIDIA's CUDA
runtime (NVIDIA Software License Agreement, attachment A).
`;
}

async function main() {
  const main = readManifest();
  const addon = await buildAddon();
  const info = await check(addon, main.version);

  const folder = path.join(PACKED, NAME);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const manifest = {
    name: NAME,
    version: main.version,
    description: `The compiled addon of komt for Linux x64 (glibc ${GLIBC_FLOOR} or newer): CPU and CUDA.`,
    license: main.license,
    ...(main.repository && { repository: main.repository }),
    engines: main.engines,
    os: ['linux'],
    cpu: ['x64'],
    libc: ['glibc'],
    type: 'commonjs',
    main: 'komt.node',
    files: ['komt.node'],
  };
  writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  writeFileSync(path.join(folder, 'README.md'), readme(info));
  copyFileSync(path.join(root, 'LICENSE'), path.join(folder, 'LICENSE'));
  copyFileSync(addon, path.join(folder, 'komt.node'));
  await call('npm', ['pack', '--ignore-scripts', '--pack-destination', PACKED], { cwd: folder });

  const tarball = path.join(PACKED, `${NAME}-${main.version}.tgz`);
  const megabytes = (file) => `${(statSync(file).size / 1e6).toFixed(1)} MB`;
  console.log(
    `${path.relative(root, tarball)}: ${megabytes(tarball)}, the addon ${megabytes(addon)}; ` +
      `needs glibc ${await glibcNeeded(addon)}; CUDA for ${info.cudaArchitectures}`,
  );
}

await main();
