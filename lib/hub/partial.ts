import { randomUUID } from 'node:crypto';
import { readdir, rename } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';

/*
 * A transfer writes to `<blob>.<host>-<pid>-<id>.incomplete`, which belongs to one process alone, so that
 * two processes that fetch the same file do not write into one. What a transfer leaves behind when it
 * breaks off has pid 0; the next one takes it over by renaming it, which only one can. The leavings of a
 * process that died are taken over too.
 */

const host = () => hostname().replace(/[^\w.]/g, '_');

function partialName(blob: string, pid: number): string {
  return `${blob}.${host()}-${pid}-${randomUUID().slice(0, 8)}.incomplete`;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Path to write to for `blob`: the leavings of an earlier transfer, or a file that is yet to be made. */
export async function claimPartial(blob: string): Promise<string> {
  const own = partialName(blob, process.pid);
  const folder = dirname(blob);
  const prefix = `${basename(blob)}.${host()}-`;
  const names = await readdir(folder).catch(() => []);
  for (const name of names) {
    if (!name.startsWith(prefix)) continue;
    const pid = /^(\d+)-[0-9a-f]{8}\.incomplete$/.exec(name.slice(prefix.length))?.[1];
    if (pid === undefined || (pid !== '0' && isAlive(Number(pid)))) continue;
    try {
      await rename(join(folder, name), own);
      return own;
    } catch {
      // Another process was faster.
    }
  }
  return own;
}

/** Leaves a partial file for a later transfer to take over. */
export async function releasePartial(blob: string, partial: string): Promise<void> {
  await rename(partial, partialName(blob, 0)).catch(() => undefined);
}
