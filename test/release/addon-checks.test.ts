import { existsSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { skipped } from '../skipped.js';

const root = path.resolve(import.meta.dirname, '../..');
const { addonProblems, dynamicSymbols } = await import(
  path.join(root, 'tools/release/addon-checks.mjs')
);

describe.skipIf(skipped(process.platform !== 'linux', 'published addons are for Linux'))(
  'the checks of a published addon',
  () => {
    let problems: string[];
    beforeAll(async () => {
      problems = await addonProblems(process.execPath);
    });

    it('find what Node itself does and no addon may', () => {
      expect(problems.join('\n')).toMatch(/exports .* and \d+ more/);
      expect(problems.join('\n')).toMatch(/more than 30000000/);
      expect(problems.join('\n')).toMatch(/linked without -z nodelete/);
    });

    it("find a system's C++ library that is not linked statically", () => {
      expect(problems).toContain('needs the library libstdc++.so.6');
      expect(problems.some((text) => /of (GLIBCXX|CXXABI)_/.test(text))).toBe(true);
    });

    it('know the functions of Node-API 8', async () => {
      const addon = path.join(root, 'build/Release/komt.node');
      expect(existsSync(addon)).toBe(true);
      const needed = (await dynamicSymbols(addon)).filter(
        ({ name, defined }: { name: string; defined: boolean }) =>
          !defined && name.startsWith('napi_'),
      );
      expect(needed.length).toBeGreaterThan(20);
      const found: string[] = await addonProblems(addon);
      expect(found.filter((text) => text.includes('needs napi_'))).toEqual([]);
    });
  },
);
