import { spawn } from 'node:child_process';
import path from 'node:path';
import { type Command, Option } from 'commander';
import { PACKAGE_ROOT } from './package.js';

interface BuildFlags {
  cuda?: string;
  archs?: string;
}

/** `komt build`: what the install script does, for where it was held back or must build otherwise. */
export function addBuildCommand(program: Command): void {
  program
    .command('build')
    .description(
      'Build the addon on this machine: CMake, with CUDA where there is a toolkit, or node-gyp',
    )
    .addOption(
      new Option(
        '--cuda <when>',
        'auto: where a toolkit is found; on: or fail; off: never (default: KOMT_CUDA, or auto)',
      ).choices(['auto', 'on', 'off']),
    )
    .option(
      '--archs <list>',
      'CUDA architectures, such as "80-real;90a-real;90-virtual" (default: KOMT_CUDA_ARCHS, or the GPUs here)',
    )
    .action(async ({ cuda, archs }: BuildFlags) => {
      const args = [path.join(PACKAGE_ROOT, 'tools/install.mjs'), '--force'];
      if (cuda !== undefined) args.push('--cuda', cuda);
      if (archs !== undefined) args.push('--archs', archs);
      const { KOMT_SKIP_BUILD: _, ...env } = process.env;
      const child = spawn(process.execPath, args, { stdio: 'inherit', env });
      process.exitCode = await new Promise<number>((resolve, reject) => {
        child.on('error', reject);
        child.on('close', (code) => resolve(code ?? 1));
      });
    });
}
