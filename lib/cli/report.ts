import { CommanderError } from 'commander';
import { AbortError, InvalidArgumentError } from 'komt';

/** Says what went wrong, on stderr, in one paragraph; the stack only with --verbose. Sets the exit code. */
export function reportFailure(error: unknown, argv: readonly string[]): void {
  if (error instanceof CommanderError) return; // has been reported, and set its code
  if (error instanceof AbortError) {
    process.exitCode = 130;
    return;
  }
  process.exitCode = error instanceof InvalidArgumentError ? 2 : 1;
  const verbose = argv.includes('--verbose');
  if (!(error instanceof Error)) {
    console.error(`komt: ${String(error)}`);
  } else if (verbose) {
    console.error(error);
  } else {
    console.error(`komt: ${error.message}`);
    console.error('(--verbose shows where)');
  }
}
