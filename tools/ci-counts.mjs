// CI's last words: what failed, a table of its steps, and the sum of their test counts.
//   node tools/ci-counts.mjs LOGS      LOGS has steps.tsv (step, outcome, seconds) and a log per step
// Counts are vitest's "Tests  3 failed | 60 passed | 2 skipped (65)" and our own runners' "60 passed, 3
// failed". What else a runner wants to be said of it (seeds, inputs, cells) it prints as "summary: ...".
import { readFileSync } from 'node:fs';
import path from 'node:path';

const KINDS = ['passed', 'failed', 'skipped'];
const FAILURE =
  /^\s*(FAIL|FAILED|✗|×)\b|: FAILED|^\s*FAIL\s|\berror:|^\S+: (untyped error|too slow|too much memory)/;
const MOST_LINES = 60;
const COUNTS = [/^\s*Tests\s+\d+ (passed|failed|skipped)/, /^\s*\d+ passed, \d+ failed/];

function read(file) {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are what is to be removed
  return readFileSync(file, 'utf8').replace(/\u001b\[[0-9;]*m/g, '');
}

/** Where a reader of the end would look first: what a log calls a failure, with what stands under it. */
function whatFailed(step, text) {
  const lines = text.split('\n');
  const shown = new Set();
  lines.forEach((line, i) => {
    if (shown.size >= MOST_LINES || !FAILURE.test(line)) return;
    for (let at = i; at < Math.min(i + 6, lines.length); at++) shown.add(at);
  });
  // A step that broke off says why last.
  for (let at = Math.max(0, lines.length - 8); at < lines.length; at++) shown.add(at);
  console.log(`--- ${step} failed:`);
  let previous = -1;
  for (const at of [...shown].sort((a, b) => a - b)) {
    if (at > previous + 1) console.log('  ...');
    console.log(`  ${lines[at].slice(0, 240)}`);
    previous = at;
  }
}

const [logs] = process.argv.slice(2);
const total = { passed: 0, failed: 0, skipped: 0 };
const rows = [];
for (const line of read(path.join(logs, 'steps.tsv')).trim().split('\n')) {
  const [step, outcome, seconds] = line.split('\t');
  const row = { step, outcome, seconds, passed: 0, failed: 0, skipped: 0, notes: [] };
  const log = read(path.join(logs, `${step}.log`));
  if (outcome !== 'ok') whatFailed(step, log);
  for (const text of log.split('\n')) {
    if (text.startsWith('summary: ')) row.notes.push(text.slice('summary: '.length).trim());
    if (!COUNTS.some((pattern) => pattern.test(text))) continue;
    for (const [, count, kind] of text.matchAll(/(\d+) (passed|failed|skipped)/g)) {
      row[kind] += Number(count);
    }
  }
  // A step that broke off may have counted nothing.
  if (outcome !== 'ok') row.failed = Math.max(row.failed, 1);
  for (const kind of KINDS) total[kind] += row[kind];
  rows.push(row);
}

const columns = ['step', 'outcome', 'seconds', ...KINDS];
const widths = columns.map((name) =>
  Math.max(name.length, ...rows.map((r) => `${r[name]}`.length)),
);
const cells = (row) => columns.map((name, i) => `${row[name]}`.padEnd(widths[i]));
console.log([...columns.map((name, i) => name.padEnd(widths[i])), 'of it'].join('  '));
for (const row of rows) console.log([...cells(row), row.notes.join('; ')].join('  '));
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed > 0 ? 1 : 0;
