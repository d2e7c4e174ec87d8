import { copyFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { candidates, loadFirst, platformPackage } from '../../lib/native/addon-files.mjs';
import { temporaryFolder } from '../temporary-folder.js';

const root = path.resolve(import.meta.dirname, '../..');
const addonFile = path.join(root, 'build/Release/komt.node');
const name = platformPackage();

/** A package komt 1.2.3 with what package.json says of platform packages, and one installed beside it. */
function installation(
  optionalDependencies?: object,
  installed?: { name: string; version: string },
) {
  const folder = temporaryFolder();
  const manifest = { name: 'komt', version: '1.2.3', optionalDependencies };
  folder.write('node_modules/komt/package.json', JSON.stringify(manifest));
  if (installed) {
    folder.write(`node_modules/${name}/package.json`, JSON.stringify(installed));
    copyFileSync(addonFile, path.join(folder.path, `node_modules/${name}/komt.node`));
  }
  return { ...folder, root: path.join(folder.path, 'node_modules/komt') };
}
const platformPlace = (where: string) => candidates(where).at(-1);

afterEach(() => vi.unstubAllEnvs());

describe('the platform package', () => {
  it('is unscoped: anybody could register a scope that nobody holds', () => {
    expect(name).toBe(`komt-${process.platform}-${process.arch}`);
  });
  it('is loaded where package.json names it in exactly the version of komt', () => {
    const { root, path: folder } = installation({ [name]: '1.2.3' }, { name, version: '1.2.3' });
    const { addon, source, file, tried } = loadFirst(root);
    expect(addon?.buildInfo().backends).toContain('cpu');
    expect(source).toBe(name);
    expect(file).toBe(path.join(folder, 'node_modules', name, 'komt.node'));
    expect(tried.map(({ reason }) => reason)).toEqual(['not there', 'not there', undefined]);
  });
  it.each([
    ['nobody named it', undefined, { name, version: '1.2.3' }, /has none/],
    [
      'it is named with a range',
      { [name]: '^1.2.3' },
      { name, version: '1.2.3' },
      /asks for \^1\.2\.3/,
    ],
    [
      'it is named in another version',
      { [name]: '1.2.2' },
      { name, version: '1.2.2' },
      /asks for 1\.2\.2/,
    ],
    [
      'another version is installed',
      { [name]: '1.2.3' },
      { name, version: '1.2.4' },
      /found .*@1\.2\.4/,
    ],
    [
      'another package lies there',
      { [name]: '1.2.3' },
      { name: 'x', version: '1.2.3' },
      /found x@/,
    ],
    ['it is not installed', { [name]: '1.2.3' }, undefined, /^not installed$/],
  ])('is left alone where %s', (_, dependencies, installed, reason) => {
    const { root } = installation(dependencies, installed);
    expect(platformPlace(root)).toEqual({ source: name, reason: expect.stringMatching(reason) });
    expect(loadFirst(root).addon).toBeNull();
  });
});

describe('loadFirst', () => {
  it('takes KOMT_ADDON first, then the builds, then the platform package', () => {
    const { root } = installation();
    vi.stubEnv('KOMT_ADDON', 'somewhere/komt.node');
    expect(candidates(root).map(({ source }) => source)).toEqual([
      'KOMT_ADDON',
      'build/Release',
      'build/Debug',
      name,
    ]);
    expect(candidates(root)[0]?.file).toBe(path.resolve('somewhere/komt.node'));
  });
  it('knows of two places for the emulated addon', () => {
    const { root } = installation();
    vi.stubEnv('KOMT_ADDON', addonFile);
    expect(candidates(root, 'komt_emulated').map(({ source }) => source)).toEqual([
      'build/Release',
      'build/Debug',
    ]);
  });
  it('says for every place why it was passed over', () => {
    const folder = installation();
    folder.write('node_modules/komt/build/Release/komt.node', 'no library');
    vi.stubEnv('KOMT_ADDON', folder.write('other.cjs', 'module.exports = {}'));
    const { addon, tried } = loadFirst(folder.root);
    expect(addon).toBeNull();
    expect(tried).toEqual([
      expect.objectContaining({ source: 'KOMT_ADDON', reason: "loads, but is not komt's addon" }),
      expect.objectContaining({ source: 'build/Release', reason: expect.stringMatching(/\S/) }),
      expect.objectContaining({ source: 'build/Debug', reason: 'not there' }),
      expect.objectContaining({ source: name, reason: expect.stringMatching(/has none/) }),
    ]);
    expect(tried[1]?.reason).toMatch(/komt\.node/);
  });
  it('goes on to the next place after one that fails', () => {
    const { root } = installation({ [name]: '1.2.3' }, { name, version: '1.2.3' });
    vi.stubEnv('KOMT_ADDON', '/no/such/komt.node');
    const { source, tried } = loadFirst(root);
    expect(source).toBe(name);
    expect(tried[0]).toMatchObject({ source: 'KOMT_ADDON', reason: 'not there' });
  });
});
