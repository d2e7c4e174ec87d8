// What a published addon may need of the system it is loaded on, read from its dynamic section.
import { statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { call } from './call.mjs';

/** RHEL 8's. Node 20's own binary asks for no less. */
export const GLIBC_FLOOR = '2.28';
/** Unpacked; six architectures of kernels take about half of it. */
export const MAX_ADDON_BYTES = 30e6;
const GLIBC_LIBRARIES = /^(lib(c|m|dl|rt|pthread)\.so\.\d|ld-linux-x86-64\.so\.2)$/;
const ENTRY_POINTS = ['napi_register_module_v1', 'node_api_module_get_api_version_v1'];
/** As cmake/node.cmake defines it; later functions are not in every supported Node. */
const NAPI_VERSION = 8;
/** Weak, and looked up by every shared object's start-up code; none has to be there. */
const START_UP = /^(__gmon_start__|_ITM_\w+)$/;

/** Of the dynamic section's FLAGS_1. */
const DF_1_NODELETE = 0x8;

const MAX_NAMES_SHOWN = 5;

/** Orders versions by their numbers. */
const byNumbers = (a, b) => a.localeCompare(b, 'en', { numeric: true });

function nodeApiFunctions() {
  const { symbols } = createRequire(import.meta.url)('node-api-headers');
  const { js_native_api_symbols, node_api_symbols } = symbols[`v${NAPI_VERSION}`];
  return new Set([...js_native_api_symbols, ...node_api_symbols]);
}

/** A list for a message, which a whole C++ library would make unreadable. */
function few(names) {
  const shown = names.slice(0, MAX_NAMES_SHOWN).join(', ');
  const rest = names.length - MAX_NAMES_SHOWN;
  return rest > 0 ? `${shown} and ${rest} more` : shown;
}

/** {name, version: of the library it comes from or '', defined} for every dynamic symbol. */
export async function dynamicSymbols(file) {
  const symbols = [];
  for (const line of (await call('objdump', ['-T', file])).split('\n')) {
    const match = /^[0-9a-f]+ .{7} (\S+)\t[0-9a-f]+ +\(?([\w.]*?)\)? +(\S+)$/.exec(line);
    if (!match) continue;
    const [, section, version, name] = match;
    symbols.push({
      name,
      version: version === 'Base' ? '' : version,
      defined: section !== '*UND*',
    });
  }
  return symbols;
}

/** The newest glibc that the addon asks for, such as '2.17'. */
export async function glibcNeeded(file) {
  const symbols = await dynamicSymbols(file);
  const versions = symbols.map(({ version }) => /^GLIBC_([\d.]+)$/.exec(version)?.[1]);
  return versions.filter(Boolean).sort(byNumbers).at(-1) ?? '0';
}

/**
 * Everything that would keep the addon from loading on the oldest supported system, or let it meddle with
 * the libraries of the process it is loaded into.
 *
 * @param {string} file
 * @returns {Promise<string[]>} one line each; empty if all is well
 */
export async function addonProblems(file) {
  const problems = [];
  const symbols = await dynamicSymbols(file);
  if (symbols.length === 0) return [`${file}: objdump shows no dynamic symbols`];
  const { size } = statSync(file);
  if (size > MAX_ADDON_BYTES) problems.push(`${size} bytes, more than ${MAX_ADDON_BYTES}`);

  const glibc = await glibcNeeded(file);
  if (byNumbers(glibc, GLIBC_FLOOR) > 0) {
    const names = symbols.filter(({ version }) => version === `GLIBC_${glibc}`);
    problems.push(
      `needs glibc ${glibc}, above ${GLIBC_FLOOR}: ${few(names.map(({ name }) => name))}`,
    );
  }
  for (const { name, version, defined } of symbols) {
    if (defined) continue;
    if (version !== '' && !/^GLIBC_[\d.]+$/.test(version)) {
      problems.push(`needs ${name} of ${version}: the C++ library is not linked statically`);
    }
  }
  const known = nodeApiFunctions();
  for (const { name, version, defined } of symbols) {
    if (!defined && version === '' && !known.has(name) && !START_UP.test(name)) {
      problems.push(`needs ${name}, which is no function of Node-API ${NAPI_VERSION}`);
    }
  }
  const exported = symbols.filter(({ defined }) => defined).map(({ name }) => name);
  if (exported.sort().join() !== ENTRY_POINTS.join()) {
    problems.push(`exports ${few(exported)}; expected ${ENTRY_POINTS.join(', ')}`);
  }

  const headers = await call('objdump', ['-p', file]);
  for (const [, library] of headers.matchAll(/NEEDED\s+(\S+)/g)) {
    if (!GLIBC_LIBRARIES.test(library)) problems.push(`needs the library ${library}`);
  }
  for (const [, kind, folder] of headers.matchAll(/(RPATH|RUNPATH)\s+(\S+)/g)) {
    problems.push(`${kind} ${folder}: libraries would be looked for there`);
  }
  const [, flags = '0'] = /^\s*FLAGS_1\s+0x([0-9a-f]+)/m.exec(headers) ?? [];
  if ((Number.parseInt(flags, 16) & DF_1_NODELETE) === 0) {
    problems.push('may be unloaded while a thread is still in it: linked without -z nodelete');
  }
  return problems;
}
