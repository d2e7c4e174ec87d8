import { readFileSync } from 'node:fs';
import path from 'node:path';
import { decode } from '@jridgewell/sourcemap-codec';

/** For every character of a bundle whether it ran, from V8's nested ranges: inner ones come later. */
function executed(length, scripts) {
  const ran = new Uint8Array(length);
  for (const { functions } of scripts) {
    for (const { ranges } of functions) {
      for (const { startOffset, endOffset, count } of ranges) {
        ran.fill(count > 0 ? 1 : 0, startOffset, endOffset);
      }
    }
  }
  return ran;
}

/**
 * Lines of sources that ran: those whose first statement did.
 *
 * @param coverage file with V8's precise coverage of the bundle
 * @returns { total, covered, missed: ['file.ts:12', ...] }
 */
export function lineCoverage(coverage, bundled, map, sources, root) {
  const code = readFileSync(bundled, 'utf8');
  const ran = executed(code.length, JSON.parse(readFileSync(coverage, 'utf8')));
  const wanted = new Map(
    map.sources.map((source, i) => [
      i,
      path.relative(root, path.resolve(path.dirname(bundled), source)),
    ]),
  );
  const found = new Set(wanted.values());
  for (const source of sources) {
    if (!found.has(source)) throw new Error(`${source} is not part of the target's bundle`);
  }
  const lines = new Map();
  let start = 0;
  const mappings = decode(map.mappings);
  for (const [number, text] of code.split('\n').entries()) {
    for (const [column, source, line, sourceColumn] of mappings[number] ?? []) {
      const file = wanted.get(source);
      if (!sources.includes(file)) continue;
      const key = `${file}:${line + 1}`;
      const before = lines.get(key);
      if (!before || sourceColumn < before.column) {
        lines.set(key, { column: sourceColumn, ran: ran[start + column] === 1 });
      }
    }
    start += text.length + 1;
  }
  const missed = [...lines].filter(([, { ran }]) => !ran).map(([key]) => key);
  return { total: lines.size, covered: lines.size - missed.length, missed };
}
