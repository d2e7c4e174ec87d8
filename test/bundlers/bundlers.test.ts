import { execFileSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import path from 'node:path';
import * as esbuild from 'esbuild';
import * as vite from 'vite';
import { beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../temporary-folder.js';
import { type Printed, project } from './app.js';

function run(file: string): Printed {
  // Away from the repository, which would be found from the working folder.
  const cwd = path.dirname(file);
  return JSON.parse(execFileSync(process.execPath, [file], { cwd, encoding: 'utf8' }));
}

/** What a bundle prints after it was moved to where nothing is installed. */
function runAlone(file: string): Printed {
  const copy = path.join(temporaryFolder().path, path.basename(file));
  copyFileSync(file, copy);
  return run(copy);
}

interface Bundle {
  kind: 'import' | 'require';
  external: boolean;
  format?: 'esm' | 'cjs';
  minify?: boolean;
}

async function withEsbuild({ kind, external, format, minify }: Bundle): Promise<string> {
  const { folder, entry } = project(kind);
  const outfile = path.join(folder, format === 'esm' ? 'out.mjs' : 'out.cjs');
  await esbuild.build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: 'node',
    format,
    minify,
    external: external ? ['komt'] : [],
    logLevel: 'error',
  });
  return outfile;
}

async function withVite({ kind, external }: Bundle): Promise<string> {
  const { folder, entry } = project(kind);
  await vite.build({
    root: folder,
    logLevel: 'error',
    ssr: external ? { external: ['komt'] } : { noExternal: true },
    build: { ssr: entry, rollupOptions: { output: { entryFileNames: 'out.mjs' } } },
  });
  return path.join(folder, 'dist/out.mjs');
}

let expected: Printed;
beforeAll(() => {
  expected = run(project('import').entry);
  expect(expected.text).toMatch(/한국의 수도는/);
});

const MOVED = {
  name: 'NativeLoadError',
  typed: true,
  message: expect.stringMatching(
    /esbuild --external:komt; vite ssr\.external; webpack externals; next serverExternalPackages: \['komt'\]/,
  ),
};

describe('esbuild', () => {
  it.each([
    { kind: 'import', format: 'esm' },
    { kind: 'import', format: 'cjs' },
    { kind: 'require', format: 'cjs' },
    { kind: 'import', format: 'esm', minify: true },
    { kind: 'require', format: 'cjs', minify: true },
  ] as const)('%j: works, and says what to do where the package is missing', async (bundle) => {
    const file = await withEsbuild({ ...bundle, external: false });
    expect(run(file)).toEqual(expected);
    expect(runAlone(file)).toEqual(MOVED);
  });
  it.each(['import', 'require'] as const)('with komt external, by %s: works', async (kind) => {
    expect(run(await withEsbuild({ kind, external: true, format: 'cjs' }))).toEqual(expected);
  });
});

describe("vite's SSR build", () => {
  it('works with everything bundled, and says what to do where the package is missing', async () => {
    const file = await withVite({ kind: 'import', external: false });
    expect(run(file)).toEqual(expected);
    expect(runAlone(file)).toEqual(MOVED);
  });
  it('works with komt external', async () => {
    expect(run(await withVite({ kind: 'import', external: true }))).toEqual(expected);
  });
});
