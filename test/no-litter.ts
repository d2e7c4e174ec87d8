import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Gives the whole run, child processes included, a temporary folder of its own: what tests leave
 * behind fails the run, and never stays on the machine.
 */
export default function setup(): () => void {
  const folder = mkdtempSync(join(tmpdir(), 'komt-tests-'));
  const before = process.env.TMPDIR;
  process.env.TMPDIR = folder;
  return () => {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
    const left = readdirSync(folder);
    rmSync(folder, { recursive: true, force: true });
    if (left.length === 0) return;
    // An error thrown here would be printed, and the run would still end with 0.
    process.exitCode = 1;
    console.error(
      `Tests left ${left.length} entries in the temporary folder: ${left.slice(0, 10).join(', ')}. ` +
        'Make folders with temporaryFolder() of test/temporary-folder.ts.',
    );
  };
}
