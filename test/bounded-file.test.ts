import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, symlinkSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readBoundedFile, readBoundedText, withFile } from '../lib/bounded-file.js';
import { AbortError, CheckpointError, FileNotFoundError, TokenizerError } from '../lib/errors.js';
import { skipped } from './skipped.js';
import { temporaryFolder } from './temporary-folder.js';

const folder = temporaryFolder();
const at = (name: string) => join(folder.path, name);

describe('readBoundedFile', () => {
  it('reads a file of at most maxBytes, through links too', async () => {
    const path = folder.write('plain', 'four');
    symlinkSync('plain', at('link'));
    expect((await readBoundedFile(path, { maxBytes: 4 })).toString()).toBe('four');
    expect((await readBoundedFile(at('link'), { maxBytes: 4 })).toString()).toBe('four');
    await expect(readBoundedFile(path, { maxBytes: 3, what: 'The plan' })).rejects.toThrow(
      'The plan is too large for what it should hold: expected at most 3 bytes, found 4 bytes',
    );
  });

  it('joins the pieces of a large file', async () => {
    const bytes = Buffer.alloc(9 * 1024 * 1024, 'komt');
    const path = folder.write('large', bytes);
    expect((await readBoundedFile(path, { maxBytes: bytes.length })).equals(bytes)).toBe(true);
  });

  it.skipIf(skipped(process.platform === 'win32', 'Windows has no named pipes in folders'))(
    'refuses at once what is no regular file',
    async () => {
      execFileSync('mkfifo', [at('fifo')]);
      symlinkSync('/dev/zero', at('zero'));
      symlinkSync('/dev/tty', at('tty'));
      symlinkSync('fifo', at('to-fifo'));
      symlinkSync('loop', at('loop'));
      mkdirSync(at('dir'));
      for (const [name, message] of [
        ['fifo', 'is not a regular file: found a named pipe'],
        ['to-fifo', 'is not a regular file: found a named pipe'],
        ['zero', 'is not a regular file: found a device'],
        ['tty', 'is not a regular file: found a device'],
        ['dir', 'is not a regular file: found a directory'],
        ['loop', 'is a symbolic link that leads to itself'],
      ] as const) {
        const error = await readBoundedFile(at(name), { maxBytes: 10 }).catch((e) => e);
        expect(error, name).toBeInstanceOf(CheckpointError);
        expect(error.message, name).toContain(message);
        expect(error.file).toBe(at(name));
      }
    },
    2000,
  );

  it('says what is missing', async () => {
    symlinkSync('nowhere', at('dangling'));
    folder.write('file', '');
    for (const name of ['none', 'dangling', 'file/below', 'a\0b']) {
      await expect(readBoundedFile(at(name), { maxBytes: 10 }), name).rejects.toThrow(
        FileNotFoundError,
      );
    }
  });

  it("throws the caller's class", async () => {
    const options = { maxBytes: 1, error: TokenizerError };
    await expect(readBoundedFile(folder.path, options)).rejects.toThrow(TokenizerError);
    await expect(readBoundedFile(folder.write('two', 'ab'), options)).rejects.toThrow(
      TokenizerError,
    );
  });

  it('ends with an AbortError', async () => {
    const path = folder.write('any', 'x');
    await expect(
      readBoundedFile(path, { maxBytes: 1, signal: AbortSignal.abort() }),
    ).rejects.toThrow(AbortError);
  });

  it('reads no further than the file was long, and notices that it became shorter', async () => {
    const path = folder.write('changing', 'abcdef');
    await withFile(path, async (reader) => {
      appendFileSync(path, 'ghi');
      expect(reader.size).toBe(6);
      await expect(reader.read(0, 9)).rejects.toThrow('The file ends too early');
      truncateSync(path, 2);
      await expect(reader.read(0, 6)).rejects.toThrow('expected at least 6 bytes, found 2 bytes');
    });
  });
});

describe('readBoundedText', () => {
  it('skips a byte order mark at the start alone', async () => {
    const path = folder.write('bom', '\ufeffa\ufeff');
    expect(await readBoundedText(path, { maxBytes: 100 })).toBe('a\ufeff');
  });

  it('refuses what is not UTF-8', async () => {
    const path = folder.write('latin1', Buffer.from([0x61, 0xff]));
    await expect(readBoundedText(path, { maxBytes: 100 })).rejects.toThrow(/not valid UTF-8/);
  });
});
