// Adds up the test counts of CI's logs: ci-counts.mjs LOGS FAILED_STEPS STEP...
// Knows vitest's "Tests  3 failed | 60 passed | 2 skipped (65)" and our own runners' "60 passed, 3 failed".
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';

const [logs, failedSteps, ...steps] = process.argv.slice(2);
const total = { passed: 0, failed: 0, skipped: 0 };
for (const step of steps) {
  const file = path.join(logs, `${step}.log`);
  if (!existsSync(file)) continue;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colours are what is to be removed
  const text = readFileSync(file, 'utf8').replace(/\u001b\[[0-9;]*m/g, '');
  for (const line of text.split('\n')) {
    if (
      !/^\s*Tests\s+\d+ (passed|failed|skipped)/.test(line) &&
      !/^\s*\d+ passed, \d+ failed/.test(line)
    ) {
      continue;
    }
    for (const [, count, kind] of line.matchAll(/(\d+) (passed|failed|skipped)/g)) {
      total[kind] += Number(count);
    }
  }
}
total.failed = Math.max(total.failed, Number(failedSteps));
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
