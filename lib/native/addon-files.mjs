// @ts-check
/**
 * Where the addon may lie, and which of these places are believed: the one rule, for the library, the
 * command line and tools/install.mjs, which runs before anything is compiled and so cannot read TypeScript.
 */
import { existsSync, readFileSync } from 'node:fs';
// By its default, for webpack would put something of its own in place of a call of an imported createRequire.
import module from 'node:module';
import path from 'node:path';

/**
 * @typedef {object} Candidate
 * @property {string} source KOMT_ADDON, build/Release, build/Debug, or the platform package's name
 * @property {string} [file] absolute path of the addon
 * @property {string} [reason] why it cannot be there; then there is no file
 *
 * @typedef {object} Tried
 * @property {string} source
 * @property {string} [file]
 * @property {string} [reason] why it was not loaded; absent for the one that was
 *
 * @typedef {object} Loaded
 * @property {import('./addon.js').NativeAddon | null} addon
 * @property {string} [file] what was loaded
 * @property {string} [source]
 * @property {Tried[]} tried every place up to the one that was loaded, best first
 */

/** @param {string} file @returns {any} */
const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'));

/** Name of the package that may carry a compiled addon for this machine; unscoped, and our own. */
export function platformPackage() {
  return `komt-${process.platform}-${process.arch}`;
}

/**
 * The addon of the platform package. It is believed only where komt's own package.json names it in
 * exactly the version of komt, and what is installed has that name and version: anybody may register a
 * name that no release depends on, and code runs as soon as an addon is loaded.
 *
 * @param {string} root komt's folder
 * @returns {Candidate}
 */
function platformCandidate(root) {
  const source = platformPackage();
  const { version, optionalDependencies } = readJson(path.join(root, 'package.json'));
  const wanted = optionalDependencies?.[source];
  if (wanted === undefined) {
    return { source, reason: `this release of komt has none (package.json does not name it)` };
  }
  if (wanted !== version) {
    return {
      source,
      reason: `package.json asks for ${wanted}, which is not komt's own ${version}`,
    };
  }
  let manifest;
  try {
    manifest = module
      .createRequire(path.join(root, 'package.json'))
      .resolve(`${source}/package.json`);
  } catch {
    return { source, reason: 'not installed' };
  }
  const installed = readJson(manifest);
  if (installed.name !== source || installed.version !== version) {
    return {
      source,
      reason: `expected ${source}@${version}, found ${installed.name}@${installed.version} in ${path.dirname(manifest)}`,
    };
  }
  return { source, file: path.join(path.dirname(manifest), 'komt.node') };
}

/**
 * Places of an addon, best first: KOMT_ADDON, build/Release, build/Debug, the platform package. All but
 * the two builds are for the addon itself and not for its emulated sister.
 *
 * @param {string} root komt's folder
 * @param {string} [name] 'komt' or 'komt_emulated'
 * @returns {Candidate[]}
 */
export function candidates(root, name = 'komt') {
  /** @type {Candidate[]} */
  const list = ['build/Release', 'build/Debug'].map((source) => ({
    source,
    file: path.join(root, source, `${name}.node`),
  }));
  if (name !== 'komt') return list;
  if (process.env.KOMT_ADDON) {
    list.unshift({ source: 'KOMT_ADDON', file: path.resolve(process.env.KOMT_ADDON) });
  }
  list.push(platformCandidate(root));
  return list;
}

/** @param {unknown} error */
function oneLine(error) {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s*\n\s*/g, ' ').slice(0, 400);
}

/**
 * Loads the first addon that can be loaded. Throws nothing: every failure stands in `tried`.
 *
 * @param {string} root komt's folder
 * @param {string} [name] 'komt' or 'komt_emulated'
 * @returns {Loaded}
 */
export function loadFirst(root, name = 'komt') {
  const require = module.createRequire(path.join(root, 'package.json'));
  /** @type {Tried[]} */
  const tried = [];
  for (const { source, file, reason } of candidates(root, name)) {
    if (file === undefined) {
      tried.push({ source, reason });
    } else if (!existsSync(file)) {
      tried.push({ source, file, reason: 'not there' });
    } else {
      try {
        const addon = require(file);
        if (typeof addon?.buildInfo === 'function' && typeof addon.devices === 'function') {
          tried.push({ source, file });
          return { addon, file, source, tried };
        }
        tried.push({ source, file, reason: "loads, but is not komt's addon" });
      } catch (error) {
        tried.push({ source, file, reason: oneLine(error) });
      }
    }
  }
  return { addon: null, tried };
}
