// Builds and runs every CUDA kernel on the emulator, the engine on the CUDA backend, and the emulator's
// own tests of planted bugs:
//   node tools/test-kernels.mjs [fast] [asan] [race] [coverage]     default: all
// fast      optimised, 4 schedules
// asan      address and undefined-behaviour sanitizers, 2 schedules
// race      happens-before tracking: races, uninitialised reads, missing waits; 3 schedules
// coverage  one schedule, with gcov: lines of cuda/ that ran (the emulator itself left out)
// Prints a table last, then 'N passed, N failed'.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { build } from './cmake.mjs';
import { root } from './run.mjs';

const MINIMUM_COVERAGE = 95;

// complete: with the backend above the kernels and the emulator below them.
const MODES = {
  fast: { emulator: 'fast', seeds: 4, complete: true },
  asan: { emulator: 'asan', seeds: 2, complete: true },
  race: { emulator: 'race', seeds: 3, complete: true },
  coverage: { emulator: 'fast', seeds: 1, complete: false },
};

/** Runs a test program, echoing it; counts from its last '... passed, ... failed' line. */
function test(file, args, env = {}) {
  const result = spawnSync(file, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    // Fibers leave no leaks that mean anything, and switch stacks under the sanitizer's feet.
    env: { ...process.env, ASAN_OPTIONS: 'detect_leaks=0:detect_stack_use_after_return=0', ...env },
  });
  const text = `${result.stdout}${result.stderr}`;
  const ok = result.status === 0;
  // The line that ci-counts.mjs adds up is printed once, at the end of this program.
  // Planted bugs fill stderr with the reports they are to cause: shown only when something is wrong.
  const shown = ok ? result.stdout : text;
  process.stdout.write(shown.replace(/^\d+ passed, \d+ failed.*\n/gm, ''));
  const [, passed = 0, failed = 0] = text.match(/(\d+) passed, (\d+) failed/) ?? [];
  const [, planted = 0] = text.match(/(\d+) planted bugs caught/) ?? [];
  const crashed = !ok && Number(failed) === 0;
  return {
    passed: Number(passed),
    failed: Number(failed) + (crashed ? 1 : 0),
    planted: Number(planted),
  };
}

/** Names of all __global__ functions below cuda/, the emulator's examples left out. */
function declaredKernels(folder = path.join(root, 'cuda')) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const full = path.join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === 'emulator' ? [] : declaredKernels(full);
    if (!/\.cuh?$/.test(entry.name)) return [];
    const text = readFileSync(full, 'utf8');
    return [
      ...text.matchAll(
        /__global__\s+void\s+(?:__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)\s*)?(\w+)\s*\(/g,
      ),
    ].map((match) => match[1]);
  });
}

/** Percentage of executable lines of cuda/ (not the emulator) that ran, from gcov's JSON. */
function lineCoverage(folder) {
  const output = path.join(root, folder, 'gcov');
  rmSync(output, { recursive: true, force: true });
  mkdirSync(output, { recursive: true });
  const notes = spawnSync('find', [path.join(root, folder), '-name', '*.gcno', '-path', '*cuda*'], {
    encoding: 'utf8',
  })
    .stdout.trim()
    .split('\n')
    .filter(Boolean);
  const lines = new Map();
  for (const file of notes) {
    const { stdout } = spawnSync('gcov', ['--json-format', '--stdout', file], {
      cwd: output,
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    });
    for (const report of stdout.split('\n').filter(Boolean)) {
      for (const source of JSON.parse(report).files) {
        const name = path.relative(root, path.resolve(output, source.file));
        if (!name.startsWith('cuda/') || name.startsWith('cuda/emulator/')) continue;
        for (const { line_number, count } of source.lines) {
          const key = `${name}:${line_number}`;
          lines.set(key, (lines.get(key) ?? 0) + count);
        }
      }
    }
  }
  const ran = [...lines.values()].filter((count) => count > 0).length;
  const missed = [...lines].filter(([, count]) => count === 0).map(([key]) => key);
  return { percent: lines.size === 0 ? 0 : (100 * ran) / lines.size, missed };
}

const chosen = process.argv.slice(2).length > 0 ? process.argv.slice(2) : Object.keys(MODES);
const rows = [];
const total = { passed: 0, failed: 0 };
const launched = new Set();
const kernels = [...new Set(declaredKernels())];
for (const mode of chosen) {
  const setting = MODES[mode];
  if (!setting) {
    console.error(`unknown mode ${mode}: expected ${Object.keys(MODES).join(', ')}`);
    process.exit(2);
  }
  const row = { build: mode, seeds: setting.seeds, cases: 0, failed: 0, planted: '-' };
  rows.push(row);
  const options = [
    `-DKOMT_EMULATOR_MODE=${setting.emulator}`,
    `-DKOMT_EMULATOR_COVERAGE=${mode === 'coverage' ? 'ON' : 'OFF'}`,
  ];
  const folder = `build/kernels-${mode}`;
  const log = path.join(root, folder, 'launches.tsv');
  const programs = ['komt_kernel_tests', ...(setting.complete ? ['komt_backend_tests'] : [])];
  if (!(await build('test/kernels', folder, options, programs)).ok) {
    row.failed++;
    continue;
  }
  rmSync(log, { force: true });
  const kernelTests = test(
    path.join(root, folder, 'komt_kernel_tests'),
    ['--seeds', String(setting.seeds)],
    {
      KOMT_EMULATOR_LAUNCH_LOG: log,
    },
  );
  row.cases += kernelTests.passed;
  row.failed += kernelTests.failed;
  if (setting.complete) {
    const backendTests = test(path.join(root, folder, 'komt_backend_tests'), []);
    row.cases += backendTests.passed;
    row.failed += backendTests.failed;
  }
  for (const line of readFileSync(log, 'utf8').split('\n')) {
    for (const name of kernels) if (new RegExp(`\\b${name}\\b`).test(line)) launched.add(name);
  }
  if (setting.complete) {
    const own = `build/emulator-${mode}`;
    if ((await build('cuda/emulator', own, options)).ok) {
      const bugs = test(path.join(root, own, 'test/emulator_test'), []);
      row.cases += bugs.passed;
      row.failed += bugs.failed;
      row.planted = bugs.planted;
    } else {
      row.failed++;
    }
  }
  if (mode === 'coverage') {
    const { percent, missed } = lineCoverage(folder);
    row.coverage = `${percent.toFixed(1)} %`;
    if (percent < MINIMUM_COVERAGE) {
      row.failed++;
      console.error(
        `line coverage of cuda/ is below ${MINIMUM_COVERAGE} %; never run:\n  ${missed.join('\n  ')}`,
      );
    }
  }
}
const idle = kernels.filter((name) => !launched.has(name));
if (idle.length > 0) {
  console.error(`kernels that no test launched: ${idle.join(', ')}`);
  total.failed += idle.length;
}
console.log(`\n${kernels.length} kernels, ${launched.size} of them launched`);
console.log('build      seeds   cases  failed  planted bugs caught  line coverage');
for (const row of rows) {
  console.log(
    `${row.build.padEnd(10)} ${String(row.seeds).padStart(5)} ${String(row.cases).padStart(7)} ${String(row.failed).padStart(7)}  ${String(row.planted).padStart(19)}  ${(row.coverage ?? '-').padStart(13)}`,
  );
  total.passed += row.cases;
  total.failed += row.failed;
}
const schedules = rows.map((row) => `${row.build} ${row.seeds}`).join(', ');
const planted = rows.reduce((sum, row) => sum + (Number.parseInt(row.planted, 10) || 0), 0);
console.log(`summary: schedules: ${schedules}; ${planted} planted bugs caught`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exitCode = total.failed > 0 ? 1 : 0;
