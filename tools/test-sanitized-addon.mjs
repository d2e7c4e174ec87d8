// The addon under AddressSanitizer and UndefinedBehaviorSanitizer, in Node: the lifecycle matrix
// (test/lifecycle), and the library's own processes and workers (test/engine/child.mjs).
//   npm run test:sanitized-addon
// Prints a row a method, a column a state, then 'N passed, N failed'. Leaks count where the addon has
// allocated: Node's own it leaves to the system at exit.
import { spawn, spawnSync } from 'node:child_process';
import os from 'node:os';
import path from 'node:path';
import { addonOptions, build } from './cmake.mjs';
import { root } from './run.mjs';

const folder = 'build/sanitized';
const { ok } = await build('.', folder, [
  ...addonOptions(),
  `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY_RELEASE=${path.join(root, folder)}`,
  '-DKOMT_SANITIZE=address,undefined',
  '-DKOMT_CUDA=OFF',
  '-DCMAKE_CXX_FLAGS_RELEASE=-O1',
]);
if (!ok) process.exit(1);

/** The compiler's shared library of this name. */
function library(name) {
  const found = spawnSync(process.env.CXX ?? 'c++', [`-print-file-name=${name}`], {
    encoding: 'utf8',
  });
  return found.stdout.trim();
}

const env = {
  ...process.env,
  // Node brings its own C++ library, whose exceptions the sanitizer does not see: the addon's comes along.
  LD_PRELOAD: `${library('libasan.so')} ${library('libstdc++.so.6')}`,
  ASAN_OPTIONS: 'detect_leaks=1:detect_stack_use_after_return=0:alloc_dealloc_mismatch=0',
  LSAN_OPTIONS: 'exitcode=0:report_objects=0:max_leaks=0',
  UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
  KOMT_ADDON: path.join(root, 'test/lifecycle/addon.cjs'),
  KOMT_LIFECYCLE_ADDON: path.join(root, folder, 'komt.node'),
};

/** What a sanitizer found, with leaks of others left out. */
function findings(stderr) {
  const blocks = stderr.split(/\n(?==+\d+==ERROR|Direct leak|Indirect leak)/);
  return blocks.filter((block) => {
    if (/^(Direct|Indirect) leak/.test(block)) {
      // The frame behind the allocation function says who asked.
      const frames = [...block.matchAll(/^\s*#(\d+) .*$/gm)].map((match) => match[0]);
      const asker = frames.find((frame) => !/libasan|operator new|malloc|calloc|std::/.test(frame));
      return asker?.includes('komt.node') ?? false;
    }
    if (block.includes('LeakSanitizer: detected memory leaks')) return false;
    return /ERROR: AddressSanitizer|runtime error:|LeakSanitizer has encountered/.test(block);
  });
}

function run(args) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--expose-gc', ...args], { cwd: root, env });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (data) => {
      stdout += data;
    });
    child.stderr.on('data', (data) => {
      stderr += data;
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), 180_000);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code, signal, stdout, stderr, found: findings(stderr) });
    });
  });
}

const METHODS = [
  'load',
  'cancelLoad',
  'openSession',
  'closeSession',
  'create',
  'fork',
  'truncate',
  'release',
  'forward',
  'decode',
  'verdict',
  'cancel',
  'dispose',
];
const TOGETHER = ['new', 'loading', 'idle', 'busy', 'streaming', 'aborted', 'disposed', 'worker'];
const SCENARIOS = [
  ['undisposed', 0],
  ['running', 0],
  ['exit', 7],
  ['throw', 1],
  ['workers', 0],
];

const jobs = [
  ...TOGETHER.map((state) => ({ state, args: ['test/lifecycle/cells.mjs', state], code: 0 })),
  // These end their process.
  ...METHODS.map((method) => ({
    state: 'exiting',
    args: ['test/lifecycle/cells.mjs', 'exiting', method],
    code: 0,
  })),
  ...SCENARIOS.map(([name, code]) => ({
    state: `process: ${name}`,
    args: ['test/engine/child.mjs', path.join(root, 'dist/index.js'), name],
    code,
  })),
];

const started = Date.now();
const table = new Map(METHODS.map((method) => [method, new Map()]));
let passed = 0;
let failed = 0;
const fail = (what, text) => {
  failed++;
  console.error(`FAILED ${what}\n${text}`);
};
const queue = [...jobs];
async function work() {
  for (let job = queue.shift(); job; job = queue.shift()) {
    const { state, args, code } = job;
    const result = await run(args);
    if (result.found.length > 0 || result.code !== code) {
      fail(
        `${args.slice(1).join(' ')}: exit ${result.code ?? result.signal}`,
        result.found.join('\n') || `${result.stdout}${result.stderr.slice(-4000)}`,
      );
    } else if (state.startsWith('process')) {
      passed++;
    }
    if (state.startsWith('process')) continue;
    for (const line of result.stdout.trim().split('\n')) {
      const [method, ...outcome] = line.split(' ');
      if (!table.has(method)) continue;
      table.get(method).set(state, outcome.join(' '));
      passed++;
    }
  }
}
await Promise.all(Array.from({ length: Math.min(2, os.availableParallelism()) }, work));

const states = [...TOGETHER, 'exiting'];
const row = (cells) =>
  cells
    .map((cell) => String(cell).padEnd(16))
    .join(' ')
    .trimEnd();
console.log(row(['method', ...states]));
for (const [method, cells] of table) {
  for (const state of states) {
    if (!cells.has(state)) fail(`${method} x ${state}`, 'no outcome');
  }
  console.log(row([method, ...states.map((state) => cells.get(state) ?? '-')]));
}
console.log(`${SCENARIOS.length} processes; ${((Date.now() - started) / 1000).toFixed(0)} s`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
