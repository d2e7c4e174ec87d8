/**
 * Builds a small program that generates, with webpack and Next, and runs it: komt bundled, komt external,
 * and the bundle moved to where nothing is installed. Both are large, so they are installed in a folder
 * of their own: `node tools/test-bundlers.mjs [folder]`; without one, in a temporary folder.
 */
import { execFileSync, spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const temporary = process.argv[2] === undefined;
const base = temporary ? mkdtempSync(path.join(tmpdir(), 'komt-bundlers-')) : process.argv[2];
const env = { ...process.env, NEXT_TELEMETRY_DISABLED: '1' };

const GENERATE = `
async function generate() {
  const folder = ${JSON.stringify(path.join(root, 'models/komt-tiny'))};
  const tokenizer = await AutoTokenizer.from_pretrained(folder);
  const model = await AutoModelForCausalLM.from_pretrained(folder, { device_map: 'cpu' });
  const inputs = tokenizer('한국의 수도는', { return_tensors: 'pt' });
  const output = await model.generate({ ...inputs, max_new_tokens: 4, do_sample: false });
  await model.dispose();
  return tokenizer.batch_decode(output)[0];
}
const answer = () => generate().catch((error) => error.name + ': ' + error.message);
`;
const IMPORT = `import { AutoModelForCausalLM, AutoTokenizer } from 'komt';${GENERATE}`;
const REQUIRE = `const { AutoModelForCausalLM, AutoTokenizer } = require('komt');${GENERATE}`;
const PRINT = '\nanswer().then((text) => console.log(text));\n';
const GENERATED = /한국의 수도는/;
const MISSING = /^NativeLoadError: .*webpack externals; next serverExternalPackages/;

function write(folder, name, text) {
  const file = path.join(folder, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text);
  return file;
}

function node(args, cwd) {
  return execFileSync(process.execPath, args, { cwd, env, encoding: 'utf8', stdio: 'pipe' });
}

const results = { passed: 0, failed: 0 };
async function check(name, wanted, run) {
  let text;
  try {
    text = await run();
  } catch (error) {
    text = `${error.message}\n${error.stdout ?? ''}${error.stderr ?? ''}`;
  }
  const ok = wanted.test(text);
  results[ok ? 'passed' : 'failed']++;
  console.log(`${ok ? 'ok  ' : 'FAIL'} ${name}${ok ? '' : `: ${text.slice(-2000)}`}`);
}

/** Bundles with webpack and gives the bundle's path. */
function webpack(name, source, { external = false, module = false } = {}) {
  const folder = path.join(base, 'webpack', name);
  rmSync(folder, { recursive: true, force: true });
  write(folder, `main.${source === IMPORT ? 'mjs' : 'cjs'}`, source + PRINT);
  const config = {
    mode: 'production',
    target: 'node20',
    context: folder,
    entry: `./main.${source === IMPORT ? 'mjs' : 'cjs'}`,
    output: { path: path.join(folder, 'out'), filename: module ? 'main.mjs' : 'main.cjs', module },
    experiments: { outputModule: module },
    ...(external && { externals: { komt: module ? 'module komt' : 'commonjs komt' } }),
  };
  write(
    folder,
    'build.cjs',
    `require('webpack')(${JSON.stringify(config)}, (error, stats) => {
      if (error || stats.hasErrors()) throw error ?? new Error(stats.toString());
    });`,
  );
  node(['build.cjs'], folder);
  return path.join(folder, 'out', config.output.filename);
}

function runAlone(file) {
  const folder = mkdtempSync(path.join(tmpdir(), 'komt-bundle-'));
  try {
    cpSync(path.dirname(file), folder, { recursive: true });
    return node([path.join(folder, path.basename(file))], folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** Builds with Next, starts its server and gives what the route answers. */
async function next(name, config, flags) {
  const folder = path.join(base, 'next', name);
  rmSync(folder, { recursive: true, force: true });
  write(folder, 'package.json', '{"private":true}');
  write(folder, 'next.config.mjs', `export default ${JSON.stringify(config)};`);
  write(
    folder,
    'app/layout.js',
    'export default ({ children }) => <html><body>{children}</body></html>;',
  );
  write(
    folder,
    'app/api/route.js',
    `${IMPORT}\nexport const dynamic = 'force-dynamic';
    export const GET = async () => new Response(await answer());`,
  );
  const bin = path.join(base, 'node_modules/next/dist/bin/next');
  node([bin, 'build', ...flags], folder);
  const port = await freePort();
  const server = spawn(process.execPath, [bin, 'start', '-p', String(port)], { cwd: folder, env });
  try {
    for (let tries = 0; ; tries++) {
      try {
        return await (await fetch(`http://127.0.0.1:${port}/api`)).text();
      } catch (error) {
        if (tries === 100 || server.exitCode !== null) throw error;
        await new Promise((done) => setTimeout(done, 200));
      }
    }
  } finally {
    server.kill();
  }
}

try {
  if (!existsSync(path.join(base, 'node_modules/next'))) {
    write(base, 'package.json', '{"private":true}');
    const { dependencies } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
    const own = Object.entries(dependencies).map(([name, range]) => `${name}@${range}`);
    const packages = ['webpack@5', 'next@latest', 'react@latest', 'react-dom@latest', ...own];
    const flags = ['install', '--no-audit', '--no-fund', '--ignore-scripts'];
    execFileSync('npm', [...flags, ...packages], { cwd: base, stdio: 'inherit' });
  }
  // A copy, as npm would install it: Turbopack follows no links out of its folder.
  for (const part of ['package.json', 'dist', 'build/Release/komt.node']) {
    const to = path.join(base, 'node_modules/komt', part);
    rmSync(to, { recursive: true, force: true });
    cpSync(path.join(root, part), to, { recursive: true });
  }

  for (const [name, source, module] of [
    ['import to CommonJS', IMPORT, false],
    ['import to a module', IMPORT, true],
    ['require to CommonJS', REQUIRE, false],
  ]) {
    let file;
    await check(`webpack, ${name}, bundled`, GENERATED, () => {
      file = webpack(name, source, { module });
      return node([file], path.dirname(file));
    });
    // An import keeps the path on the build machine, which is this one.
    if (file && source === REQUIRE)
      await check(`webpack, ${name}, moved`, MISSING, () => runAlone(file));
    await check(`webpack, ${name}, external`, GENERATED, () => {
      const out = webpack(`${name} external`, source, { module, external: true });
      return node([out], path.dirname(out));
    });
  }
  for (const [bundler, flags] of [
    ['Turbopack', ['--turbopack']],
    ['webpack', ['--webpack']],
  ]) {
    const external = { serverExternalPackages: ['komt'] };
    await check(`Next with ${bundler}, external`, GENERATED, () =>
      next(`${bundler} external`, external, flags),
    );
    await check(`Next with ${bundler}, bundled`, GENERATED, () => next(bundler, {}, flags));
  }
} finally {
  if (temporary) rmSync(base, { recursive: true, force: true });
}
console.log(`${results.passed} passed, ${results.failed} failed`);
process.exitCode = results.failed > 0 ? 1 : 0;
