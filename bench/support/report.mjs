import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { machineSlug, ROOT } from './machine.mjs';

const RESULTS = path.join(ROOT, 'bench/results');

/** A Markdown table; numbers stand right. */
export function markdownTable(header, rows) {
  const line = (cells) => `| ${cells.join(' | ')} |`;
  const rule = header.map((_, i) => (i === 0 ? '---' : '---:'));
  return [line(header), line(rule), ...rows.map(line)].join('\n');
}

export function machineLines(machine) {
  const extensions = machine.vectorExtensions.join(' ');
  return [
    `- ${machine.cpu}, ${machine.cores} cores${extensions && ` (${extensions})`}, ` +
      `${(machine.memoryBytes / 2 ** 30).toFixed(0)} GiB, ${machine.system}`,
    `- komt ${machine.komt} (${machine.commit}), Node.js ${machine.node}, built with ${machine.compiler}`,
    `- ${machine.date}; load average when it began ${machine.loadAverage.join(' ')}` +
      (machine.note && `; ${machine.note}`),
  ].join('\n');
}

/** Writes a result as <date>-<machine>-<name>.json and .md; gives the path of the JSON. */
function writeResult(name, result, markdown) {
  const { machine } = result;
  const base = path.join(RESULTS, `${machine.date}-${machineSlug(machine)}-${name}`);
  mkdirSync(RESULTS, { recursive: true });
  writeFileSync(`${base}.json`, `${JSON.stringify(result, null, 1)}\n`);
  writeFileSync(`${base}.md`, `${markdown}\n`);
  return `${base}.json`;
}

/** Prints the Markdown; with `save` also writes the result. */
export function publish(name, result, markdown, save) {
  console.log(`${markdown}\n`);
  if (save) console.error(writeResult(name, result, markdown));
}

/** Digits that a figure is worth. */
export function digits(value) {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
