import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';

const root = path.resolve(import.meta.dirname, '..');
const json = (file: string) => JSON.parse(readFileSync(path.join(root, file), 'utf8'));

/** What `npm publish` would publish; dist/ as it lies there. */
let files: Set<string>;
let bytes: number;
beforeAll(async () => {
  const { stdout } = await promisify(execFile)(
    'npm',
    ['pack', '--dry-run', '--json', '--ignore-scripts'],
    { cwd: root, shell: process.platform === 'win32' },
  );
  const listed = JSON.parse(stdout);
  // An array until npm 11, an object of packages after it.
  const [pack] = Object.values(listed) as [{ files: { path: string }[]; size: number }];
  files = new Set(pack.files.map((file) => file.path));
  bytes = pack.size;
}, 60_000);

describe('the package', () => {
  it('holds nothing but what a user needs', () => {
    const foreign = /^(test|bench|build|node_modules|\.)|emulator|fixtures|\.tgz$|\.py$/;
    expect([...files].filter((file) => foreign.test(file))).toEqual([]);
    expect(bytes).toBeLessThan(6e6);
  });

  it('holds every entry that package.json names', () => {
    const entries: string[] = [];
    const walk = (value: unknown): void => {
      if (typeof value === 'string') entries.push(path.posix.normalize(value));
      else for (const inner of Object.values(value as object)) walk(inner);
    };
    const { main, module, types, bin, exports } = json('package.json');
    walk([main, module, types, bin, exports]);
    expect(entries.filter((file) => !files.has(file))).toEqual([]);
  });

  it('holds every source that its addon is built from, and what these include', () => {
    const sources = Object.values(json('native/sources.json') as Record<string, string[]>).flat();
    expect(sources.filter((file) => !files.has(file))).toEqual([]);
    const missing: string[] = [];
    for (const file of files) {
      if (!/\.(cpp|h|cu|cuh)$/.test(file)) continue;
      for (const [, name] of readFileSync(path.join(root, file), 'utf8').matchAll(
        /^\s*#include "([^"]+)"/gm,
      )) {
        const places = [path.dirname(file), 'native', 'native/addon', 'cuda'];
        const found = places.some((place) => files.has(path.posix.join(place, name as string)));
        if (!found && !name?.startsWith('emulator/')) missing.push(`${file}: ${name}`);
      }
    }
    expect(missing).toEqual([]);
  });

  it('holds every file that its addon is built with', () => {
    const text = (file: string) => readFileSync(path.join(root, file), 'utf8');
    const wanted = new Set([json('package.json').scripts.install.replace(/^node /, '')]);
    // From the build files, those that they include, and the modules that the install script imports.
    const queue = ['CMakeLists.txt', 'binding.gyp', 'native/gyp/common.gypi', ...wanted];
    for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
      wanted.add(file);
      if (file === 'package.json') continue; // it names what is done in a clone as well
      const found = file.endsWith('.mjs')
        ? [
            ...text(file).matchAll(/^(?:import|export) .*?from '(\.[^']+)'|^import '(\.[^']+)'/gms),
          ].map(([, a, b]) => path.posix.join(path.dirname(file as string), (a ?? b) as string))
        : [
            ...text(file)
              .replace(/#.*$/gm, '') // comments name what is done in a clone
              .matchAll(/(?:cmake|native|lib|tools)\/[\w/.-]+\.\w+|package\.json/g),
          ].map(([name]) => name);
      for (const name of found) if (!wanted.has(name)) queue.push(name);
    }
    for (const [, name] of text('tools/probe.mjs').matchAll(/'(lib\/[^']+)'/g))
      wanted.add(name as string);
    // The addon whose CUDA is emulated is built in a clone alone.
    wanted.delete('cmake/emulated.cmake');
    expect(wanted).toContain('cmake/sources.cmake');
    expect(wanted).toContain('tools/node-gyp.mjs');
    expect([...wanted].filter((file) => !files.has(file))).toEqual([]);
  });

  it('holds what README.md links to, outside of what is measured and developed', () => {
    const links = [
      ...readFileSync(path.join(root, 'README.md'), 'utf8').matchAll(/\]\(([^)#]+)\)/g),
    ];
    const local = links.map(([, link]) => link as string).filter((link) => !/^https?:/.test(link));
    const missing = local.filter((link) => !files.has(link) && !/^(bench|CONTRIBUTING)/.test(link));
    expect(local.length).toBeGreaterThan(0);
    expect(missing).toEqual([]);
    expect(files).toContain('examples/model-card.ts');
  });

  it('exports no helpers of its own', async () => {
    const names = Object.keys(await import('../lib/index.js'));
    expect(names).toContain('AutoModelForCausalLM');
    const internal = /^(invalidArgument|throwIfAborted|plainOutput|stackRows|chosenLogprob)$/;
    expect(names.filter((name) => internal.test(name))).toEqual([]);
  });
});
