// The two tarballs of a release, and what must be true of them before anybody sees them.
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { call, PACKED, readManifest, root } from './call.mjs';

export const PLATFORM_PACKAGES = ['komt-linux-x64'];
/** Packed: the demonstration model's weights and the CUDA sources are most of it. */
const MAX_MAIN_BYTES = 6e6;
const PLATFORM_FILES = ['LICENSE', 'README.md', 'komt.node', 'package.json'];

/** Packs a folder; where the tarball lies. */
async function pack(folder, destination, ...options) {
  mkdirSync(destination, { recursive: true });
  const { name, version } = readManifest(folder);
  await call('npm', ['pack', '--silent', '--pack-destination', destination, ...options], {
    cwd: folder,
  });
  return path.join(destination, `${name}-${version}.tgz`);
}

/**
 * The main package, whose package.json names the platform packages in exactly its own version. Only the
 * packed one does: `npm ci` of a clone would look for what is not published yet.
 *
 * @returns {Promise<{ plain: string, released: string }>} tarballs: as the tree packs it, and as it is published
 */
export async function packMain() {
  const plain = await pack(root, path.join(PACKED, 'plain'));
  const folder = path.join(PACKED, 'komt');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  await call('tar', ['-xzf', plain, '-C', folder, '--strip-components=1']);
  const manifest = readManifest(folder);
  const taken = PLATFORM_PACKAGES.filter((name) => manifest.optionalDependencies?.[name]);
  if (taken.length > 0) throw new Error(`package.json of the tree names ${taken.join(', ')}`);
  manifest.optionalDependencies = {
    ...manifest.optionalDependencies,
    ...Object.fromEntries(PLATFORM_PACKAGES.map((name) => [name, manifest.version])),
  };
  writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  return { plain, released: await pack(folder, PACKED, '--ignore-scripts') };
}

export async function packPlatform() {
  const { version } = readManifest();
  await call(process.execPath, ['tools/pack-platform.mjs'], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return PLATFORM_PACKAGES.map((name) => path.join(PACKED, `${name}-${version}.tgz`));
}

/** Paths inside a tarball, without the folder that all of them are in. */
async function filesOf(tarball) {
  const names = (await call('tar', ['-tzf', tarball])).split('\n');
  return names
    .filter(Boolean)
    .map((name) => name.replace(/^package\//, ''))
    .sort();
}

function same(what, found, expected) {
  const list = (value) => JSON.stringify(value);
  if (list(found) !== list(expected)) {
    throw new Error(`${what}: expected ${list(expected)}, found ${list(found)}`);
  }
}

async function lint(tarball) {
  const { publint } = await import('publint');
  const { formatMessage } = await import('publint/utils');
  const { buffer, byteOffset, byteLength } = readFileSync(tarball);
  const content = buffer.slice(byteOffset, byteOffset + byteLength);
  const { messages, pkg } = await publint({ pack: { tarball: content }, strict: true });
  if (messages.length > 0) {
    throw new Error(messages.map((m) => formatMessage(m, pkg, { color: false })).join('\n'));
  }
}

/** Types as TypeScript finds them, for every entry point and every way of resolving modules. */
async function checkTypes(tarball) {
  // With a TypeScript of its own, which takes a while to load.
  const attw = await import('@arethetypeswrong/core');
  const found = await attw.checkPackage(attw.createPackageFromTarballData(readFileSync(tarball)));
  if (!found.types) throw new Error('no types were found');
  const kinds = Object.values(found.entrypoints).flatMap(({ subpath, resolutions }) =>
    Object.keys(resolutions).map((kind) => `${subpath} ${kind}`),
  );
  if (found.problems.length > 0) {
    throw new Error(found.problems.map((problem) => JSON.stringify(problem)).join('\n'));
  }
  return `${kinds.length} cases`;
}

/** [what is checked, how] of the tarballs of a release; a check throws, or says what it saw. */
export function packageChecks({ plain, released }, platforms) {
  const { version } = readManifest();
  const checks = [
    [
      'komt: nothing is added to or missing from what the tree packs',
      async () => same('files', await filesOf(released), await filesOf(plain)),
    ],
    [
      `komt: less than ${MAX_MAIN_BYTES / 1e6} MB`,
      async () => {
        const { size } = statSync(released);
        if (size > MAX_MAIN_BYTES) throw new Error(`${size} bytes`);
        return `${(size / 1e6).toFixed(1)} MB, ${(await filesOf(released)).length} files`;
      },
    ],
    [
      'komt: names the platform packages in exactly its version',
      () => {
        const { optionalDependencies } = readManifest(path.join(PACKED, 'komt'));
        for (const name of PLATFORM_PACKAGES) same(name, optionalDependencies[name], version);
      },
    ],
    ['komt: publint has nothing to say', () => lint(released)],
    ['komt: types are right for every module system', () => checkTypes(released)],
  ];
  for (const tarball of platforms) {
    const name = path.basename(tarball, `-${version}.tgz`);
    checks.push(
      [
        `${name}: holds the addon and nothing else`,
        async () => same('files', await filesOf(tarball), PLATFORM_FILES),
      ],
      [
        `${name}: name, version and platform`,
        () => {
          const manifest = readManifest(path.join(PACKED, name));
          const { os, cpu, libc } = manifest;
          same('name', manifest.name, name);
          same('version', manifest.version, version);
          same('platform', { os, cpu, libc }, { os: ['linux'], cpu: ['x64'], libc: ['glibc'] });
          same('scripts', manifest.scripts, undefined);
        },
      ],
      [`${name}: publint has nothing to say`, () => lint(tarball)],
    );
  }
  return checks;
}

/** Bytes of a folder's files. */
export function folderBytes(folder) {
  let bytes = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile())
      bytes += statSync(path.join(entry.parentPath ?? entry.path, entry.name)).size;
  }
  return bytes;
}
