#!/usr/bin/env node
// Registers, stack, spills and static shared memory of every CUDA kernel on every architecture, held
// against the committed table cuda/resources.json.
//
//   node tools/kernel-resources.mjs            compile and compare; 1 on spills or drift
//   node tools/kernel-resources.mjs --update   compile and write the table
//   --jobs N   compilers at the same time (default: the machine's)
//
// Spills of the kernels that a token's time is spent in always fail. A kernel that is new, gone, has
// more spills, stack or shared memory, or more than 8 registers more or fewer than the table says
// (registers are given out in eights) is drift; other toolkits than the table's allocate differently,
// so with them only spills are looked at. What has been compiled is remembered in
// build/kernel-resources.json by the contents of the sources.
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, devNull } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { ARCHITECTURES, PTX_ARCHITECTURE } from './cuda-architectures.mjs';

const REGISTER_TOLERANCE = 8;
/** Run for every layer; the others run once a step. */
const HOT = /^(attention|gemm)\/|^elementwise\/(rms_norm|rope_append)\.cu/;

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const cudaRoot = join(root, 'cuda');
const tablePath = join(cudaRoot, 'resources.json');
const cachePath = join(root, 'build', 'kernel-resources.json');

/** The compiler from CUDACXX, CUDA_HOME or CUDA_PATH, the PATH, or the usual place; or undefined. */
function findNvcc() {
  const homes = [process.env.CUDA_HOME, process.env.CUDA_PATH, '/usr/local/cuda'];
  const candidates = [
    process.env.CUDACXX,
    ...homes.filter(Boolean).map((home) => join(home, 'bin', 'nvcc')),
    'nvcc',
  ];
  for (const nvcc of candidates.filter(Boolean)) {
    try {
      const text = execFileSync(nvcc, ['--version'], { encoding: 'utf8', stdio: 'pipe' });
      const version = /release (\d+\.\d+)/.exec(text)?.[1];
      if (version) return { nvcc, version };
    } catch {
      // Not there; the next candidate may be.
    }
  }
  return undefined;
}

/** Files below `folder` that end in one of `extensions`, without the emulator's. */
function sourcesBelow(folder, extensions) {
  const found = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (path !== join(cudaRoot, 'emulator')) found.push(...sourcesBelow(path, extensions));
    } else if (extensions.some((extension) => entry.name.endsWith(extension))) {
      found.push(path);
    }
  }
  return found.sort();
}

/** Mangled names to readable ones: namespaces, parameters and file-local hashes left out. */
function readableNames(mangled) {
  let names;
  try {
    const text = execFileSync('c++filt', [], { input: mangled.join('\n'), encoding: 'utf8' });
    names = text.trimEnd().split('\n');
  } catch {
    return undefined;
  }
  return names.map((name) =>
    name
      .replace(/^void /, '')
      .replace(/\(anonymous namespace\)::|_GLOBAL__N__\w+::|komt::|kernels::/g, '')
      .replace(/\(\w+\)(-?\d)/g, '$1')
      .replace(/__half\b/g, 'half')
      .replace(/__nv_bfloat16\b/g, 'bfloat16')
      .replace(/\((?!.*>\().*\)$/, '')
      .replace(/ >/g, '>')
      .trim(),
  );
}

/** What `ptxas -v` says: {kernel: {architecture: {registers, stack, spills, shared}}}. */
function parse(log) {
  const entries = [];
  let entry;
  for (const line of log.split('\n')) {
    let match = /Compiling entry function '(\S+)' for 'sm_(\w+)'/.exec(line);
    if (match) {
      entry = { mangled: match[1], architecture: match[2] };
      entries.push(entry);
      continue;
    }
    if (!entry) continue;
    match = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    if (match) {
      entry.stack = Number(match[1]);
      entry.spills = Number(match[2]) + Number(match[3]);
    }
    match = /Used (\d+) registers/.exec(line);
    if (match) {
      entry.registers = Number(match[1]);
      entry.shared = Number(/(\d+) bytes smem/.exec(line)?.[1] ?? 0);
    }
  }
  const names = readableNames(entries.map((e) => e.mangled));
  if (entries.length > 0 && !names) return undefined;
  const kernels = {};
  entries.forEach(({ architecture, registers, stack, spills, shared }, i) => {
    kernels[names[i]] ??= {};
    kernels[names[i]][architecture] = { registers, stack, spills, shared };
  });
  return kernels;
}

async function compile(nvcc, file, architectures) {
  const targets = architectures.map((a) => `-gencode=arch=compute_${a},code=sm_${a}`);
  targets.push(`-gencode=arch=compute_${PTX_ARCHITECTURE},code=compute_${PTX_ARCHITECTURE}`);
  const options = ['-std=c++20', '-O3', `-I${cudaRoot}`, '-Xptxas', '-v', ...targets];
  const { stderr } = await promisify(execFile)(nvcc, [...options, '-c', file, '-o', devNull], {
    maxBuffer: 1 << 26,
  });
  const kernels = parse(stderr);
  if (!kernels) throw new Error('c++filt is needed to name the kernels; it comes with binutils');
  return kernels;
}

/** Compiles what is not remembered; {file: kernels}. */
async function compileAll(nvcc, version, architectures, jobs) {
  const headers = sourcesBelow(cudaRoot, ['.cuh', '.h']);
  const shared = createHash('sha256').update(version).update(architectures.join());
  for (const header of headers) shared.update(readFileSync(header));
  const headersHash = shared.digest('hex');
  const cache = existsSync(cachePath) ? JSON.parse(readFileSync(cachePath, 'utf8')) : {};
  const result = {};
  const queue = sourcesBelow(cudaRoot, ['.cu']);
  const work = async () => {
    for (let file = queue.shift(); file; file = queue.shift()) {
      const name = relative(cudaRoot, file).replaceAll('\\', '/');
      const key = createHash('sha256').update(headersHash).update(readFileSync(file)).digest('hex');
      if (cache[name]?.key !== key) {
        cache[name] = { key, kernels: await compile(nvcc, file, architectures) };
      }
      result[name] = cache[name].kernels;
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  mkdirSync(dirname(cachePath), { recursive: true });
  writeFileSync(cachePath, JSON.stringify(cache));
  return result;
}

function* entriesOf(files) {
  for (const [file, kernels] of Object.entries(files)) {
    for (const [kernel, byArchitecture] of Object.entries(kernels)) {
      for (const [architecture, figures] of Object.entries(byArchitecture)) {
        yield { where: `${file}: ${kernel} on sm_${architecture}`, figures };
      }
    }
  }
}

function drift(found, table, architectures) {
  const messages = [];
  const expected = new Map([...entriesOf(table)].map((e) => [e.where, e.figures]));
  for (const { where, figures } of entriesOf(found)) {
    const before = expected.get(where);
    expected.delete(where);
    if (!before) {
      messages.push(`${where}: not in the table`);
    } else if (
      Math.abs(figures.registers - before.registers) > REGISTER_TOLERANCE ||
      figures.spills > before.spills ||
      figures.stack > before.stack ||
      figures.shared > before.shared
    ) {
      const words = ({ registers, stack, spills, shared }) =>
        `${registers} registers, ${stack} bytes of stack, ${spills} spilt, ${shared} shared`;
      messages.push(`${where}: ${words(figures)}; the table has ${words(before)}`);
    }
  }
  for (const where of expected.keys()) {
    if (architectures.some((a) => where.endsWith(` on sm_${a}`))) {
      messages.push(`${where}: in the table, but no longer there`);
    }
  }
  return messages;
}

/** One line for each kernel and architecture, so that a change is one line of a diff. */
function write(version, files) {
  const lines = Object.entries(files)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .filter(([, kernels]) => Object.keys(kernels).length > 0)
    .map(([file, kernels]) => {
      const body = Object.entries(kernels)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([kernel, byArchitecture]) => {
          const figures = Object.entries(byArchitecture).map(
            ([a, f]) => `        ${JSON.stringify(a)}: ${JSON.stringify(f)}`,
          );
          return `      ${JSON.stringify(kernel)}: {\n${figures.join(',\n')}\n      }`;
        });
      return `    ${JSON.stringify(file)}: {\n${body.join(',\n')}\n    }`;
    });
  const text = `{\n  "toolkit": "${version}",\n  "files": {\n${lines.join(',\n')}\n  }\n}\n`;
  writeFileSync(tablePath, text);
}

async function main() {
  const { values } = parseArgs({
    options: { update: { type: 'boolean', default: false }, jobs: { type: 'string' } },
  });
  const found = findNvcc();
  if (!found) {
    console.log('nvcc not found: kernel resources not checked');
    return 0;
  }
  const { nvcc, version } = found;
  const known = execFileSync(nvcc, ['--list-gpu-code'], { encoding: 'utf8' });
  const architectures = ARCHITECTURES.filter((a) => known.includes(`sm_${a.replace(/\D/g, '')}`));
  const jobs = Number(values.jobs ?? availableParallelism());
  const files = await compileAll(nvcc, version, architectures, jobs);

  const all = [...entriesOf(files)];
  const spilling = all.filter((e) => e.figures.spills > 0);
  const spills = spilling.filter((e) => HOT.test(e.where));
  for (const { where, figures } of spilling) {
    console.error(`${where}: ${figures.spills} bytes spilt`);
  }
  const kernels = Object.values(files).reduce((sum, k) => sum + Object.keys(k).length, 0);
  console.log(
    `${kernels} kernels on sm_${architectures.join(', ')} and PTX with nvcc ${version}: ` +
      `${spilling.length} spills, ${spills.length} of them in hot kernels`,
  );
  const missing = ARCHITECTURES.filter((a) => !architectures.includes(a));
  if (missing.length > 0) console.log(`not known to this nvcc: sm_${missing.join(', ')}`);

  if (values.update) {
    write(version, files);
    console.log(`wrote ${relative(process.cwd(), tablePath)}`);
    return spills.length > 0 ? 1 : 0;
  }
  const table = JSON.parse(readFileSync(tablePath, 'utf8'));
  if (table.toolkit !== version) {
    console.log(`the table was made with nvcc ${table.toolkit}: drift not checked`);
    return spills.length > 0 ? 1 : 0;
  }
  const messages = drift(files, table.files, architectures);
  for (const message of messages) console.error(message);
  if (messages.length > 0)
    console.error('if this is meant: node tools/kernel-resources.mjs --update');
  return spills.length + messages.length > 0 ? 1 : 0;
}

process.exitCode = await main();
