import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import * as komt from '../lib/index.js';
import { temporaryFolder } from './temporary-folder.js';

type ErrorClass = new (message?: unknown, details?: object) => komt.KomtError;

/** Every error class that the package exports, by its name there. */
const classes = Object.entries(komt).filter(
  ([, value]) => typeof value === 'function' && value.prototype instanceof Error,
) as unknown as [string, ErrorClass][];

/** Bundles `source`, minified, with a copy of the library of its own, and gives what it prints. */
async function minified(source: string): Promise<unknown> {
  const folder = temporaryFolder();
  const outfile = path.join(folder.path, 'out.mjs');
  await build({
    stdin: { contents: source, resolveDir: path.resolve(import.meta.dirname, '..'), loader: 'ts' },
    bundle: true,
    minify: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    outfile,
  });
  const { default: value } = await import(pathToFileURL(outfile).href);
  return value;
}

describe('an error', () => {
  it.each(classes)('%s has its own name, also in its stack and to a subclass', (name, Class) => {
    const error = new Class('what', { bytesNeeded: 1 });
    expect(error.name).toBe(name);
    expect(error.stack?.startsWith(`${name}: `)).toBe(true);
    expect(Object.keys(error)).not.toContain('name');
    expect(error).toBeInstanceOf(komt.KomtError);
    class Mine extends Class {}
    const mine = new Mine('what', { bytesNeeded: 1 });
    expect(mine).toBeInstanceOf(Mine);
    expect(mine).toBeInstanceOf(Class);
    expect(error).not.toBeInstanceOf(Mine);
  });

  it('is told from errors of other classes', () => {
    const error = new komt.DownloadError('x');
    expect(error).toBeInstanceOf(komt.HubError);
    expect(error).not.toBeInstanceOf(komt.OfflineError);
    for (const value of [new Error('x'), null, undefined, 'x', 1, {}, Object.create(null)]) {
      expect(value instanceof komt.KomtError).toBe(false);
    }
  });

  it('keeps its name when minified, and is known across copies of the library', async () => {
    const copy = (await minified(`
      import * as errors from './lib/errors.ts';
      import { StreamTimeoutError } from './lib/generation/streamers.ts';
      export default { ...errors, StreamTimeoutError };
    `)) as Record<string, ErrorClass>;
    for (const [name, Class] of classes) {
      const Other = copy[name] as ErrorClass;
      expect(Other).not.toBe(Class);
      const error = new Other('what', { bytesNeeded: 1 });
      expect(error.name).toBe(name);
      expect(error).toBeInstanceOf(Class);
      expect(new Class('what', { bytesNeeded: 1 })).toBeInstanceOf(Other);
    }
    expect(new (copy.TokenizerError as ErrorClass)('x')).not.toBeInstanceOf(komt.HubError);
  });

  it('is known across import, require and komt/kernels', () => {
    const source = `
      import * as esm from 'komt';
      import * as kernels from 'komt/kernels';
      import { createRequire } from 'node:module';
      const require = createRequire(import.meta.url);
      const copies = [esm, kernels, require('komt'), require('komt/kernels')];
      const known = copies.flatMap((a) => copies.map((b) =>
        new a.InvalidArgumentError('x') instanceof b.KomtError &&
        !(new a.InvalidArgumentError('x') instanceof b.DeviceError)));
      console.log(JSON.stringify(known));`;
    const cwd = path.resolve(import.meta.dirname, '..');
    const args = ['--input-type=module', '-e', source];
    const printed = execFileSync(process.execPath, args, { cwd, encoding: 'utf8' });
    expect(JSON.parse(printed)).toEqual(Array(16).fill(true));
  });
});

describe('a message shows of a value', () => {
  const text = (found: unknown) => new komt.KomtError('x', { found }).message;

  it('the beginning, of typed arrays too', () => {
    expect(text(Float32Array.of(1, 2.5))).toBe('x: found [1,2.5]');
    expect(text(BigInt64Array.of(1n))).toBe('x: found ["1"]');
    expect(text(new Uint8Array(1e8))).toMatch(/^x: found \[0,0,.*0,"\.\.\."\]$/);
  });

  it('a part where it holds the same lists many times', () => {
    let list: unknown[] = [1];
    for (let i = 0; i < 30; i++) list = new Array(20).fill(list);
    expect(text(list).length).toBeLessThan(1100);
  });
});
