import type { RangeReader } from '../bounded-file.js';
import { CheckpointError } from '../errors.js';

/**
 * Recognises what is often found in place of weights: a Git LFS pointer, GGUF, or a web page.
 * @throws CheckpointError
 */
export async function refusePlaceholders(reader: RangeReader): Promise<void> {
  const head = (await reader.read(0, Math.min(64, reader.size))).toString('latin1');
  if (head.startsWith('version https://git-lfs')) {
    throw new CheckpointError(`${reader.path} is a Git LFS pointer and not the weights`, {
      file: reader.path,
      remedy: 'Run `git lfs pull` in that folder, or download the file itself.',
    });
  }
  if (head.startsWith('GGUF')) {
    throw new CheckpointError(`${reader.path} is a GGUF file under another name`, {
      file: reader.path,
      remedy: 'GGUF cannot be read: use the safetensors files that it was converted from.',
    });
  }
  if (/^\s*<(!doctype|html)/i.test(head)) {
    throw new CheckpointError(`${reader.path} is a web page and not the weights`, {
      file: reader.path,
      remedy: 'The download was answered with a page (a login, an error); download it again.',
    });
  }
}

/** True for a name within one folder on every platform: no separator, drive, parent or control character. */
export function isPlainFileName(name: string): boolean {
  return name.length > 0 && name.length <= 255 && !/[\\/:\p{Cc}]|^\.+$/u.test(name);
}
