// Fuzzes the library's parsers and its surface: targets of test/fuzz/targets, each in a process of its own.
//   node tools/fuzz.mjs [--target NAME]... [--seconds 30] [--seed 1] [--jobs 2] [--keep]
//   node tools/fuzz.mjs --target NAME --replay FILE    runs one input
// A target passes when no input costs too much or gets an untyped error, when its parser's lines are
// covered, and when it finds its planted bug. Findings are written to build/fuzz/.
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { bundle } from '../test/fuzz/bundle.mjs';
import { lineCoverage } from '../test/fuzz/coverage.mjs';

const root = path.resolve(import.meta.dirname, '..');
const results = path.join(root, 'build/fuzz');
const { values } = parseArgs({
  options: {
    target: { type: 'string', multiple: true },
    seconds: { type: 'string', default: '30' },
    seed: { type: 'string', default: '1' },
    jobs: { type: 'string', default: '2' },
    replay: { type: 'string' },
    keep: { type: 'boolean', default: false },
    // Within this time a planted bug must be found: it is near the surface, or the target is blind.
    'planted-seconds': { type: 'string', default: '40' },
    targets: { type: 'string', default: path.join(root, 'test/fuzz/targets') },
  },
});
const targets = path.resolve(values.targets);

// Files are written for every input: memory is a hundred times quicker than some disks.
const scratch = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

/** Runs a bundled target; gives its report or its finding, and the input that led to it. */
async function run(bundled, name, options) {
  const folder = mkdtempSync(path.join(scratch, 'komt-fuzz-'));
  try {
    const corpus = path.join(targets, '../corpus', name);
    const child = spawn(
      process.execPath,
      [
        '--input-type=module',
        '--eval',
        // Counting begins before the modules are loaded, or their first lines would seem never to run.
        `import { Session } from 'node:inspector';
         const inspector = new Session();
         inspector.connect();
         inspector.post('Profiler.enable');
         inspector.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
         const { target, work } = await import(${JSON.stringify(pathToFileURL(bundled).href)});
         await work(target, ${JSON.stringify({ ...options, folder, corpus })}, inspector);`,
      ],
      {
        cwd: root,
        stdio: ['ignore', 'ignore', 'pipe'],
        env: {
          ...process.env,
          KOMT_ADDON: process.env.KOMT_ADDON ?? path.join(root, 'build/Release/komt.node'),
        },
      },
    );
    let errors = '';
    child.stderr.on('data', (data) => {
      errors = (errors + data).slice(-4000);
    });
    const [code, signal] = await new Promise((resolve) =>
      child.on('close', (...status) => resolve(status)),
    );
    const said = path.join(folder, 'message');
    if (existsSync(said)) {
      const message = JSON.parse(readFileSync(said, 'utf8'));
      if (message.finding) message.finding.input = readFileSync(path.join(folder, 'current'));
      return message;
    }
    const current = path.join(folder, 'current');
    return {
      finding: {
        kind: 'process died',
        message: `${signal ?? `exit code ${code}`}\n${errors}`,
        input: existsSync(current) ? readFileSync(current) : Buffer.alloc(0),
      },
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function save(name, { kind, message, input }) {
  const file = path.join(results, `${name}-seed${values.seed}.input`);
  writeFileSync(file, input);
  console.log(`${name}: ${kind}: ${message}\n  npm run fuzz -- --target ${name} --replay ${file}`);
}

/** Fuzzes one target; gives its row of the table. */
async function fuzz(name) {
  const row = { target: name, inputs: 0, accepted: 0, refused: 0, outcomes: 0, problems: [] };
  const source = path.join(targets, `${name}.ts`);
  const { target, file, map } = await bundle(source, path.join(root, `build/fuzz-${name}.mjs`));
  const coverage = path.join(results, `${name}.coverage.json`);
  const options = { seed: Number(values.seed), seconds: Number(values.seconds), keep: values.keep };
  const clean = await run(file, name, {
    ...options,
    coverage,
    ...(values.replay === undefined ? {} : { replay: path.resolve(values.replay) }),
  });
  if (clean.finding) {
    save(name, clean.finding);
    row.problems.push(clean.finding.kind);
  } else {
    Object.assign(row, clean.report);
    if (values.replay !== undefined) return row;
    for (const [i, input] of clean.report.kept.entries()) {
      const folder = path.join(targets, '../corpus', name);
      mkdirSync(folder, { recursive: true });
      writeFileSync(path.join(folder, `seed${values.seed}-${i}`), Buffer.from(input, 'base64'));
    }
    const lines = lineCoverage(coverage, file, map, target.sources, root);
    row.coverage = (100 * lines.covered) / lines.total;
    if (row.coverage < target.minimumCoverage) {
      row.problems.push(`coverage below ${target.minimumCoverage} %`);
      console.log(`${name}: lines not reached: ${lines.missed.join(' ')}`);
    }
  }
  rmSync(coverage, { force: true });

  const defect = await bundle(
    source,
    path.join(root, `build/fuzz-${name}-planted.mjs`),
    target.planted,
  );
  const planted = await run(defect.file, name, {
    ...options,
    seconds: Number(values['planted-seconds']),
  });
  row.planted = planted.finding ? planted.finding.kind : 'not found';
  if (!planted.finding) row.problems.push('planted bug not found');
  return row;
}

mkdirSync(results, { recursive: true });
const names =
  values.target ??
  readdirSync(targets)
    .filter((name) => name.endsWith('.ts'))
    .map((name) => name.slice(0, -3))
    .sort();
const rows = [];
const waiting = [...names];
const header = ['target', 'inputs', 'accepted', 'refused', 'outcomes', 'lines', 'planted bug', ''];
const widths = [20, 9, 9, 9, 9, 8, 16, 0];
const print = (cells) => console.log(cells.map((c, i) => String(c).padEnd(widths[i])).join(' '));
print(header);
await Promise.all(
  Array.from({ length: Math.min(Number(values.jobs), names.length) }, async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const row = await fuzz(name).catch((error) => ({
        target: name,
        inputs: 0,
        problems: [error.message],
      }));
      rows.push(row);
      print([
        row.target,
        row.inputs,
        row.accepted ?? '',
        row.refused ?? '',
        row.outcomes ?? '',
        row.coverage === undefined ? '' : `${row.coverage.toFixed(1)} %`,
        row.planted ?? '',
        row.problems.length === 0 ? 'ok' : `FAILED: ${row.problems.join(', ')}`,
      ]);
    }
  }),
);
const failed = rows.filter((row) => row.problems.length > 0).length;
const inputs = rows.reduce((sum, row) => sum + row.inputs, 0);
console.log(`summary: ${rows.length} targets, ${inputs} inputs, seed ${values.seed}`);
console.log(`${rows.length - failed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
