import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { describeOnGpu } from './device.js';

/**
 * The kernel tests and the PTX wrappers as programs for this GPU. They are built apart (see
 * test/kernels/CMakeLists.txt and test/gpu/ptx/CMakeLists.txt; tools/gpu-run.sh builds both).
 */
const build = path.resolve(import.meta.dirname, '../../build');
const KERNELS = path.join(build, 'gpu-kernels/komt_kernel_tests');
const EMULATED = path.join(build, 'gpu-ptx/komt_ptx_emulated');
const DEVICE = path.join(build, 'gpu-ptx/komt_ptx_device');

function run(program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  expect(status, `${stdout}\n${stderr}`).toBe(0);
  return stdout;
}

function built(...programs: string[]): boolean {
  const missing = programs.filter((program) => !existsSync(program));
  for (const program of missing)
    console.log(`skipped: ${path.relative(build, program)} is not built`);
  return missing.length === 0;
}

describeOnGpu('programs on the GPU', () => {
  it.runIf(built(KERNELS))('kernel tests pass', { timeout: 300_000 }, () => {
    expect(run(KERNELS)).toMatch(/^[1-9]\d* passed, 0 failed$/m);
  });

  it.runIf(built(EMULATED, DEVICE))('PTX wrappers do what the emulator says', () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'komt-ptx-'));
    try {
      const answers = path.join(folder, 'answers.txt');
      run(EMULATED, '--write', answers);
      expect(run(DEVICE, '--compare', answers)).toMatch(/^[1-9]\d* passed, 0 failed$/m);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
