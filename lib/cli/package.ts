import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The package's root: this module is bundled into dist/, one level below it. */
const here = path.dirname(fileURLToPath(import.meta.url));
export const PACKAGE_ROOT =
  path.basename(here) === 'cli' ? path.resolve(here, '../..') : path.resolve(here, '..');

/** The demonstration model that ships with the package. */
export const DEMO_MODEL = path.join(PACKAGE_ROOT, 'models/komt-tiny');

export function packageVersion(): string {
  const text = readFileSync(path.join(PACKAGE_ROOT, 'package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
