import { randomUUID } from 'node:crypto';
import {
  copyFile,
  link,
  mkdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';

/**
 * One repository in the cache, in the layout of Python's huggingface_hub:
 *
 *     models--org--name/blobs/<hash>                the contents
 *     models--org--name/refs/<branch or tag>        the commit that it stood for
 *     models--org--name/snapshots/<commit>/<path>   links into blobs
 */
export class CachedRepository {
  private readonly root: string;

  constructor(cache: string, repo: string) {
    this.root = join(cache, `models--${repo.replaceAll('/', '--')}`);
  }

  snapshot(commit: string): string {
    return join(this.root, 'snapshots', commit);
  }

  blob(hash: string): string {
    return join(this.root, 'blobs', hash);
  }

  /** The commit that `revision` stood for when it was last asked for; undefined if it never was. */
  async commitOf(revision: string): Promise<string | undefined> {
    if (isCommit(revision)) return revision;
    try {
      const commit = (await readFile(join(this.root, 'refs', revision), 'utf8')).trim();
      return isCommit(commit) ? commit : undefined;
    } catch {
      return undefined;
    }
  }

  async setCommit(revision: string, commit: string): Promise<void> {
    if (revision === commit || (await this.commitOf(revision)) === commit) return;
    const path = join(this.root, 'refs', revision);
    await mkdir(dirname(path), { recursive: true });
    await replace(path, (temporary) => writeFile(temporary, commit));
  }

  /** True where the snapshot has `path` with its content and `size` bytes. */
  async has(commit: string, path: string, size: number): Promise<boolean> {
    return (await sizeOf(join(this.snapshot(commit), path))) === size;
  }

  async hasBlob(hash: string, size: number): Promise<boolean> {
    return (await sizeOf(this.blob(hash))) === size;
  }

  /** Makes `path` of the snapshot the blob `hash`: by a symbolic link, else a hard link, else a copy. */
  async link(commit: string, path: string, hash: string): Promise<void> {
    const pointer = join(this.snapshot(commit), path);
    const blob = this.blob(hash);
    await mkdir(dirname(pointer), { recursive: true });
    await replace(pointer, async (temporary) => {
      try {
        await symlink(relative(dirname(pointer), blob), temporary);
      } catch {
        // Windows wants a privilege for symbolic links.
        await link(blob, temporary).catch(() => copyFile(blob, temporary));
      }
    });
  }
}

/** True for the full hash of a commit. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/** Size of a file, following links; undefined if there is none. */
export async function sizeOf(path: string): Promise<number | undefined> {
  try {
    const found = await stat(path);
    return found.isFile() ? found.size : undefined;
  } catch {
    return undefined;
  }
}

/** Makes `path` anew under another name and moves it into place, so that nobody sees it half made. */
async function replace(path: string, make: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    await make(temporary);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
