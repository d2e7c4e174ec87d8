import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = path.resolve(import.meta.dirname, '../..');
const names = ['blind', 'clean', 'dies', 'memory', 'slow', 'untyped'];

afterAll(() => {
  for (const name of names) {
    for (const file of [`${name}.mjs`, `${name}-planted.mjs`]) {
      rmSync(path.join(root, `build/fuzz-${file}`), { force: true });
      rmSync(path.join(root, `build/fuzz-${file}.map`), { force: true });
    }
    rmSync(path.join(root, `build/fuzz/${name}-seed3.input`), { force: true });
  }
});

describe('the fuzzing harness', () => {
  let stdout = '';
  let status: number | null = null;
  beforeAll(() => {
    const args =
      'tools/fuzz.mjs --targets test/fuzz/toys/targets --seconds 1 --planted-seconds 2 --seed 3';
    const run = spawnSync(process.execPath, args.split(' '), { cwd: root, encoding: 'utf8' });
    ({ stdout, status } = run);
  }, 120_000);
  const row = (name: string) =>
    stdout.split('\n').find((line) => line.startsWith(`${name} `)) ?? '';

  it('passes a target that answers everything, and prints its lines', () => {
    expect(row('clean')).toMatch(/ \d\d\.\d % +untyped error +ok$/);
    expect(row('clean')).not.toContain('100.0');
  });

  it.each([
    ['untyped', 'untyped error'],
    ['slow', 'too slow'],
    ['memory', 'too much memory'],
    ['dies', 'process died'],
  ])('a target that is %s fails', (name, kind) => {
    expect(row(name)).toMatch(new RegExp(`FAILED: ${kind}$`));
    expect(stdout).toContain(`--target ${name} --replay`);
  });

  it('a target that reaches nothing fails twice', () => {
    expect(row('blind')).toContain('FAILED: coverage below 50 %, planted bug not found');
    expect(stdout).toContain('parser.ts:5');
  });

  it('counts and ends with a failure', () => {
    expect(stdout).toContain('1 passed, 5 failed');
    expect(status).toBe(1);
  });
});
