// Copies what the packed library and its tests need of node_modules, and nothing else:
//   node tools/gpu-pack-modules.mjs OUT
import { cpSync, existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const out = path.resolve(process.argv[2]);

// Nobody writes TypeScript there, and no test has style sheets (vite asks for lightningcss only then).
const unused = new Set(['lightningcss']);
const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
const wanted = [...Object.keys(manifest.dependencies), 'vitest'];

/** Where Node would find a package from a folder; undefined for one that is not installed. */
function locate(name, from) {
  for (let folder = from; folder.startsWith(root); folder = path.dirname(folder)) {
    const candidate = path.join(folder, 'node_modules', name);
    if (existsSync(path.join(candidate, 'package.json'))) return candidate;
  }
  return undefined;
}

const copied = new Set();
function visit(name, from, optional) {
  if (unused.has(name)) return;
  const folder = locate(name, from);
  if (!folder) {
    if (optional) return;
    throw new Error(`${name}, wanted by ${path.relative(root, from)}, is not installed`);
  }
  if (copied.has(folder)) return;
  const { dependencies, optionalDependencies, libc } = JSON.parse(
    readFileSync(path.join(folder, 'package.json'), 'utf8'),
  );
  if (libc && !libc.includes('glibc')) return;
  copied.add(folder);
  for (const dependency of Object.keys(optionalDependencies ?? {})) visit(dependency, folder, true);
  for (const dependency of Object.keys(dependencies ?? {})) visit(dependency, folder, false);
}
for (const name of wanted) visit(name, root, false);

for (const folder of copied) {
  cpSync(folder, path.join(out, path.relative(path.join(root, 'node_modules'), folder)), {
    recursive: true,
    filter: (file) =>
      !/\.(map|d\.[cm]?ts|md)$/.test(file) &&
      !path.relative(folder, file).split(path.sep).includes('node_modules'),
  });
}
console.log(`${copied.size} packages`);
