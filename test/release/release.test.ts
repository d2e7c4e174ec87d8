import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const root = path.resolve(import.meta.dirname, '../..');

it('publishes nothing that leaves architectures out or has no tag, and says so before it builds', async () => {
  const release = promisify(execFile)(process.execPath, ['tools/release.mjs', '--publish'], {
    cwd: root,
    env: { ...process.env, KOMT_CUDA_ARCHS: '90a-real' },
  });
  await expect(release).rejects.toMatchObject({
    stderr: expect.stringMatching(/nothing was published: .*KOMT_CUDA_ARCHS.*v\d+\.\d+\.\d+/),
  });
});
