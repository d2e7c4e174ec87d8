import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll } from 'vitest';

const made: string[] = [];
// Registered once for the file that imports this, so that folders made within a test go too.
afterAll(() => {
  for (const path of made.splice(0)) rmSync(path, { recursive: true, force: true });
});

/** A fresh folder that is removed after the test file, whether its tests pass or not. */
export function temporaryFolder(): {
  path: string;
  /** Writes a file, and the folders above it; gives its path. */
  write: (name: string, data: string | Buffer) => string;
} {
  const path = mkdtempSync(join(tmpdir(), 'komt-'));
  made.push(path);
  return {
    path,
    write: (name, data) => {
      const file = join(path, name);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, data);
      return file;
    },
  };
}
