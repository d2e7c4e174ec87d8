import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';

interface Engine {
  label: string;
  decode: { median: number };
}

const root = path.join(import.meta.dirname, '../..');
const results = path.join(root, 'bench/results');
const readme = readFileSync(path.join(root, 'README.md'), 'utf8');

/** The newest result of each shape: file names begin with the date and end with the shape. */
const newest = new Map<string, string>();
for (const name of readdirSync(results).sort()) {
  const shape = /-decode-(.+)\.json$/.exec(name)?.[1];
  if (shape) newest.set(shape, name);
}

describe('the benchmark table of README.md', () => {
  it('is what bench/readme-table.mjs makes of the newest results', () => {
    const script = path.join(root, 'bench/readme-table.mjs');
    const check = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
    expect(check.stderr).toBe('');
    expect(check.status).toBe(0);
  });

  it.each([...newest])('has the measured decode rates of %s', (_, file) => {
    const { model } = JSON.parse(readFileSync(path.join(results, file), 'utf8'));
    expect(model.engines.length).toBeGreaterThan(0);
    for (const { label, decode } of model.engines as Engine[]) {
      const rate = decode.median.toFixed(decode.median >= 10 ? 0 : 1);
      const rows = readme.split('\n').filter((line) => line.startsWith(`| ${label} |`));
      expect(rows.map((row) => row.split(' | ')[3])).toContain(rate);
    }
  });
});
