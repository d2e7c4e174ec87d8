import { execFile } from 'node:child_process';
import { chmodSync, cpSync, existsSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../temporary-folder.js';

const root = path.resolve(import.meta.dirname, '../..');
const addonFile = path.join(root, 'build/Release/komt.node');

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

/**
 * The package as it is installed, without an addon, and a PATH that holds nothing but what `programs`
 * are: shell scripts by name.
 */
function installation(programs: Record<string, string> = {}) {
  const folder = temporaryFolder();
  for (const part of ['dist', 'tools', 'package.json', 'native/sources.json', 'binding.gyp']) {
    cpSync(path.join(root, part), path.join(folder.path, part), { recursive: true });
  }
  const rule = 'lib/native/addon-files.mjs';
  cpSync(path.join(root, rule), path.join(folder.path, rule));
  for (const part of ['node_modules', 'models']) {
    symlinkSync(path.join(root, part), path.join(folder.path, part));
  }
  for (const [name, body] of Object.entries(programs)) {
    chmodSync(folder.write(`bin/${name}`, `#!/bin/sh\n${body}\n`), 0o755);
  }
  const run = (args: string[], env: NodeJS.ProcessEnv = {}): Promise<Outcome> =>
    new Promise((resolve) => {
      execFile(
        process.execPath,
        args.map((arg) => arg.replace(/^(dist|tools)\//, `${folder.path}/$1/`)),
        {
          cwd: folder.path,
          // npm_config_node_gyp: a node-gyp that fails at once, in place of npm's own.
          env: {
            PATH: path.join(folder.path, 'bin'),
            npm_config_node_gyp: folder.write(
              'gyp.js',
              'console.error("gyp ERR! stack Error: no Python"); process.exit(1)',
            ),
            ...env,
          },
        },
        (error, stdout, stderr) => {
          resolve({ code: (error?.code as number | undefined) ?? 0, stdout, stderr });
        },
      );
    });
  return {
    path: folder.path,
    run,
    komt: (args: string[], env?: NodeJS.ProcessEnv) => run(['dist/cli.js', ...args], env),
    inspect: async () => {
      const { code, stdout } = await run(['dist/cli.js', 'inspect', '--json']);
      return { code, ...JSON.parse(stdout) };
    },
  };
}

/** A CMake that builds by copying, and for which nvcc breaks. */
const CMAKE = `
case "$*" in
  --version) echo "cmake version 3.25.1" ;;
  *-DKOMT_CUDA=OFF*) echo "-- komt: KOMT_CUDA=OFF: the CPU backend only" ;;
  *-DKOMT_CUDA=*)
    echo "-- komt: CUDA with /usr/local/bin/nvcc for 90a-real"
    printf 'CMake Error at cmake/cuda.cmake:60 (message):\\n  nvcc does not compile:\\n  unsupported GNU version!\\nCall Stack:\\n' >&2
    exit 1 ;;
  --build*) /bin/mkdir -p build/Release && /bin/cp "${addonFile}" build/Release/ ;;
esac`;

describe('without an addon', () => {
  it('the error names every place and the ways out', async () => {
    const { komt } = installation();
    const { code, stderr } = await komt(['generate', 'x']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/build\/Release\/komt\.node: not there/);
    expect(stderr).toMatch(/build\/Debug\/komt\.node: not there/);
    expect(stderr).toMatch(/komt-\w+-\w+: this release of komt has none/);
    expect(stderr).toMatch(/npx komt build/);
    expect(stderr).toMatch(/npm install-scripts approve komt, then npm rebuild komt/);
    expect(stderr).not.toMatch(/@komt/);
  });
  it('inspect explains, and ends with 1', async () => {
    const { komt, inspect } = installation();
    const { code, stdout } = await komt(['inspect']);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^komt +\d+\.\d+\.\d+/);
    expect(stdout).toMatch(/\naddon +none loads/);
    expect(stdout).toMatch(/Tried:\n.*build\/Release/);
    expect(stdout).toMatch(/Remedies:\n {2}1\. nothing was built here.*npx komt build/);
    const seen = await inspect();
    expect(seen).toMatchObject({
      code: 1,
      addon: null,
      devices: [],
      installScriptRan: false,
      build: null,
      fallback: null,
    });
    expect(seen.tried).toHaveLength(3);
  });
  it('help, version and a wrong command need none', async () => {
    const { komt } = installation();
    expect((await komt(['--help'])).stdout).toMatch(/build .*Build the addon/);
    expect((await komt(['--version'])).code).toBe(0);
    expect((await komt(['build', '--cuda', 'maybe'])).code).toBe(2);
  });
});

describe('komt build', () => {
  it('falls back loudly where only CUDA fails, and inspect shows it with the reason', async () => {
    const { komt, inspect } = installation({ cmake: CMAKE });
    const { code, stderr } = await komt(['build']);
    expect(stderr).toMatch(/WARNING: fell back to CMake, cpu/);
    expect(stderr).toMatch(/CMake and CUDA: nvcc does not compile: unsupported GNU version!/);
    expect(code).toBe(0);
    const seen = await inspect();
    expect(seen.code).toBe(0);
    expect(seen.addon).toMatchObject({ source: 'build/Release' });
    expect(seen.fallback).toMatch(/^CMake and CUDA: .*unsupported GNU version!$/);
    expect(seen.buildIsOfAddon).toBe(true);
    expect(seen.build.attempts).toMatchObject([
      {
        how: 'CMake and CUDA',
        ok: false,
        log: expect.arrayContaining(['  unsupported GNU version!']),
      },
      { how: 'CMake', ok: true, note: 'KOMT_CUDA=OFF: the CPU backend only' },
    ]);
    const { stdout } = await komt(['inspect']);
    expect(stdout).toMatch(/What failed: CMake and CUDA: .*unsupported GNU version!/);
    expect(stdout).toMatch(/Last lines of CMake and CUDA:/);
  });
  it('with CUDA demanded a failure is an error, and the addon from before stays', async () => {
    const { komt, inspect } = installation({ cmake: CMAKE });
    await komt(['build', '--cuda', 'off']);
    const { code, stderr } = await komt(['build', '--cuda', 'on']);
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /no addon could be built:\n {2}CMake and CUDA: .*unsupported GNU version!/,
    );
    expect(stderr).toMatch(/without CUDA: npx komt build --cuda off/);
    const seen = await inspect();
    expect(seen).toMatchObject({ code: 0, buildIsOfAddon: false, build: { ok: false } });
    expect(seen.addon.source).toBe('build/Release');
    expect((await komt(['inspect'])).stdout).toMatch(/last build +failed, .*this addon is older/);
  });
  it('demands CMake for CUDA', async () => {
    const { run } = installation();
    const { code, stderr } = await run(['tools/install.mjs'], { KOMT_CUDA: 'ON' });
    expect(code).toBe(1);
    expect(stderr).toMatch(/CMake: CMake is not on PATH/);
    expect(stderr).not.toMatch(/node-gyp/);
  });
  it('says which CMake is too old, goes on with node-gyp, and what is missing there', async () => {
    const { komt, inspect } = installation({ cmake: 'echo "cmake version 3.16.3"' });
    const { code, stderr } = await komt(['build']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/CMake: CMake 3\.16\.3 is too old: 3\.22 or newer is needed/);
    expect(stderr).toMatch(/node-gyp: no Python/);
    const seen = await inspect();
    expect(seen).toMatchObject({ code: 1, installScriptRan: true, build: { ok: false } });
    expect(seen.remedies[0]).toMatch(/the last build failed \(node-gyp: no Python\)/);
  });
  it('says where it may not write', async () => {
    const { komt, path: folder } = installation({ cmake: CMAKE });
    writeFileSync(path.join(folder, 'build'), 'a file where a folder must be');
    const { code, stderr } = await komt(['build']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^komt: .*build.*must be allowed to write there\.$/m);
    expect(stderr).not.toMatch(/\n\s+at /);
  });
  it('refuses values that mean nothing', async () => {
    const { run } = installation();
    const cuda = await run(['tools/install.mjs'], { KOMT_CUDA: 'maybe' });
    expect(cuda).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/expected auto, on or off, found maybe/),
    });
    const archs = await run(['tools/install.mjs', '--archs', '80;sm_90']);
    expect(archs).toMatchObject({ code: 2, stderr: expect.stringMatching(/found sm_90/) });
  });
});

describe('the install script', () => {
  it('keeps an addon that loads, builds it again for npm rebuild, and not with KOMT_SKIP_BUILD', async () => {
    const { run, path: folder } = installation({ cmake: CMAKE });
    const skipped = await run(['tools/install.mjs'], { KOMT_SKIP_BUILD: '1' });
    expect(skipped.stdout).toMatch(/nothing is built/);
    expect(existsSync(path.join(folder, 'build'))).toBe(false);
    await run(['tools/install.mjs'], { KOMT_CUDA: 'off' });
    expect((await run(['tools/install.mjs'])).stdout).not.toMatch(/building with/);
    const again = await run(['tools/install.mjs'], { npm_command: 'rebuild' });
    expect(again.stdout).toMatch(/an addon is built \(npm rebuild\)/);
  });
});
