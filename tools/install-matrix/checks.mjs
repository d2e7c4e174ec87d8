// What an installation must be like. Each check throws an Error that says what is not so.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { root } from '../run.mjs';

const [QUESTION] = JSON.parse(
  readFileSync(path.join(root, 'models/komt-tiny/seed-qa.json'), 'utf8'),
);

function expect(condition, what, found) {
  if (condition) return;
  throw new Error(`${what}; found ${typeof found === 'string' ? found : JSON.stringify(found)}`);
}

function inspect(place, status) {
  const result = place.run('npx', ['komt', 'inspect', '--json']);
  expect(result.status === status, `komt inspect exits with ${status}`, result.status);
  return JSON.parse(result.stdout);
}

/**
 * @param expected how: the way of the last attempt; backends; cudaArchitectures; note: what CMake said of
 *   CUDA; fallback: what failed before, null by default; lastBuildFailed: the addon outlived a failed build
 */
export function checkBuilt(
  place,
  { how, backends, cudaArchitectures, note, fallback, lastBuildFailed = false },
) {
  const seen = inspect(place, 0);
  const { addon, build } = seen;
  expect(addon.source === 'build/Release', 'an addon of its own', addon.source);
  expect(addon.version === seen.komt, `an addon of version ${seen.komt}`, addon.version);
  expect(
    JSON.stringify(addon.backends) === JSON.stringify(backends),
    `backends ${backends.join(' + ')}`,
    addon.backends,
  );
  expect(
    addon.cudaArchitectures === cudaArchitectures,
    `architectures ${cudaArchitectures}`,
    addon.cudaArchitectures,
  );
  expect(
    build.ok === !lastBuildFailed,
    `a last build that ${lastBuildFailed ? 'failed' : 'worked'}`,
    build,
  );
  const [last] = build.attempts.slice(-1);
  if (how) expect(last.how === how, `built with ${how}`, last.how);
  if (note) expect(note.test(last.note), `a note like ${note}`, last.note);
  if (fallback) expect(fallback.test(seen.fallback), `a fall-back like ${fallback}`, seen.fallback);
  else if (!lastBuildFailed) expect(seen.fallback === null, 'no fall-back', seen.fallback);
}

/** Nothing loads because no script ran: import says so, and so does inspect. */
export function checkBlocked(place) {
  const remedies = [/npx komt build/, /npm install-scripts approve komt/, /npm rebuild komt/];
  const imported = place.run('node', [
    '--input-type=module',
    '-e',
    "(await import('komt')).listDevices()",
  ]);
  expect(imported.status !== 0, 'using komt fails', imported.status);
  const { installScriptRan, addon, remedies: listed } = inspect(place, 1);
  expect(!installScriptRan && addon === null, 'inspect knows that no script ran', installScriptRan);
  for (const remedy of remedies) {
    expect(remedy.test(imported.text), `the error names ${remedy}`, imported.text);
    expect(
      listed.some((text) => remedy.test(text)),
      `inspect names ${remedy}`,
      listed,
    );
  }
}

/** Packages of a prebuilt installation, the platform package among them. */
const MAX_PACKAGES = 30;
/** Bytes of a prebuilt installation, and of the platform package in it. */
const MAX_BYTES = 60e6;
const MAX_PLATFORM_BYTES = 30e6;

/** Before anything is built, there is room for the platform package in what an installation may take. */
export function checkSmall(place) {
  const modules = path.join(place.folder, 'node_modules');
  const lock = JSON.parse(readFileSync(path.join(modules, '.package-lock.json'), 'utf8'));
  const packages = Object.keys(lock.packages).length;
  const files = readdirSync(modules, { recursive: true, withFileTypes: true });
  const bytes = files
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(path.join(entry.parentPath, entry.name)).size, 0);
  place.log += `${packages} packages, ${(bytes / 1e6).toFixed(1)} MB\n`;
  expect(packages + 1 < MAX_PACKAGES, `fewer than ${MAX_PACKAGES} packages`, packages);
  expect(bytes + MAX_PLATFORM_BYTES < MAX_BYTES, `less than ${MAX_BYTES / 1e6} MB`, bytes / 1e6);
}

/** A build that failed says why, and what to do. */
export function checkRefused({ status, text }, ...patterns) {
  expect(status !== 0, 'the build fails', status);
  const wanted = patterns.length > 0 ? patterns : [/install a C\+\+20 compiler/];
  for (const pattern of [/no addon could be built/, /Remedies:/, ...wanted]) {
    expect(pattern.test(text), `output like ${pattern}`, text.split('\n').slice(-15).join('\n'));
  }
}

/** The demonstration model recites: by import, by require and on the command line. */
export function checkGenerates(place) {
  const body = `
    const model = path.join('node_modules/komt/models/komt-tiny');
    const load = async () => {
      const tokenizer = await AutoTokenizer.from_pretrained(model);
      const lm = await AutoModelForCausalLM.from_pretrained(model, { device_map: 'cpu' });
      const prompt = '### instruction: ' + ${JSON.stringify(QUESTION.instruction)} + '\\n\\n### Response:';
      const input = tokenizer(prompt, { return_tensors: 'pt' });
      const output = await lm.generate({ ...input, do_sample: false, max_new_tokens: 500 });
      console.log(tokenizer.batch_decode(output, { skip_special_tokens: true })[0]);
      await lm.dispose();
    };
    load();`;
  writeFileSync(
    path.join(place.folder, 'generate.mjs'),
    `import path from 'node:path';\nimport { AutoModelForCausalLM, AutoTokenizer } from 'komt';${body}`,
  );
  writeFileSync(
    path.join(place.folder, 'generate.cjs'),
    `const path = require('node:path');\nconst { AutoModelForCausalLM, AutoTokenizer } = require('komt');${body}`,
  );
  for (const [command, ...args] of [
    ['node', 'generate.mjs'],
    ['node', 'generate.cjs'],
    ['npx', 'komt', 'generate', '--greedy', '--device', 'cpu', QUESTION.instruction],
  ]) {
    const { stdout, text } = place.run(command, args);
    expect(stdout.includes(QUESTION.response), `${args[0]} answers`, text);
  }
}
