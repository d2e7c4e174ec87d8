import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildInfo } from './komt.mjs';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

export function komtVersion() {
  return JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')).version;
}

function git(...args) {
  try {
    return execFileSync('git', ['-C', ROOT, ...args], { encoding: 'utf8' }).trim();
  } catch {
    return '';
  }
}

/** Hash of the commit, with a mark when the sources differ from it. */
function commit() {
  const hash = git('rev-parse', '--short', 'HEAD');
  if (hash === '') return 'unknown';
  const dirty = git('status', '--porcelain', '--', 'lib', 'native', 'cuda') !== '';
  return dirty ? `${hash} with changes` : hash;
}

/** Vector extensions that decide how fast matrices are; empty where the system does not tell. */
function vectorExtensions() {
  const wanted = ['avx2', 'f16c', 'avx512f', 'avx512_bf16', 'avx512_fp16', 'amx_bf16', 'asimd'];
  try {
    const flags = /^(?:flags|Features)\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))[1];
    const has = new Set(flags.trim().split(/\s+/));
    return wanted.filter((flag) => has.has(flag));
  } catch {
    return [];
  }
}

/** Everything a reader needs in order to know where figures come from. */
export function describeMachine() {
  const cpus = os.cpus();
  return {
    cpu: cpus[0].model.trim(),
    cores: cpus.length,
    vectorExtensions: vectorExtensions(),
    memoryBytes: os.totalmem(),
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.version,
    compiler: buildInfo().compiler ?? 'unknown',
    komt: komtVersion(),
    commit: commit(),
    date: new Date().toISOString().slice(0, 10),
    /** What a reader should know of how it was run. */
    note: process.env.KOMT_BENCH_NOTE ?? '',
    loadAverage: os.loadavg().map((load) => Math.round(load * 100) / 100),
  };
}

/** A name for result files, such as 'amd-epyc-2c'. */
export function machineSlug({ cpu, cores }) {
  const name = cpu
    .toLowerCase()
    .replace(/\(.*?\)|processor|cpu|@.*/g, '')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '');
  return `${name}-${cores}c`;
}
