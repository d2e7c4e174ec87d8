import { CommanderError } from 'commander';
import { InvalidArgumentError, KomtError } from 'komt';
import { interruptExitCode } from './interrupt.js';
import { printable } from './output.js';

/** True where stacks are wanted: --verbose, or KOMT_DEBUG set to anything but 0. */
function wantsStack(argv: readonly string[]): boolean {
  return argv.includes('--verbose') || !['', '0'].includes(process.env.KOMT_DEBUG ?? '');
}

/** Says what went wrong, on stderr, in one paragraph; the stack only when asked for. Sets the exit code. */
export function reportFailure(error: unknown, argv: readonly string[]): void {
  if (error instanceof CommanderError) return; // has been reported, and set its code
  const interrupted = interruptExitCode(error);
  if (interrupted !== undefined) {
    process.exitCode = interrupted;
    return;
  }
  process.exitCode = error instanceof InvalidArgumentError ? 2 : 1;
  if (wantsStack(argv)) {
    console.error(error);
    return;
  }
  // The message of our own errors holds the remedy. File names and servers have a say in it.
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  console.error(printable(`komt: ${text}`, process.stderr));
  if (!(error instanceof KomtError)) {
    console.error('This may be a fault of komt; --verbose or KOMT_DEBUG=1 shows where it is.');
  }
}
