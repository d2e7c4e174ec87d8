import { constants } from 'node:os';
import { AbortError } from 'komt';

/** Signals that ask a program to end; each in its time, so that nothing is left half done. */
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Why a command was ended from outside. */
export class Interruption extends Error {
  constructor(readonly signal: NodeJS.Signals) {
    super(`Received ${signal}`);
  }
}

/** A signal that fires on Ctrl-C, SIGTERM and SIGHUP; the same again ends the process as usual. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of SIGNALS) {
    process.once(name, () => controller.abort(new Interruption(name)));
  }
  return controller.signal;
}

/** 128 and the signal's number, as a shell says it; undefined for an error that no signal caused. */
export function interruptExitCode(error: unknown): number | undefined {
  if (!(error instanceof AbortError)) return undefined;
  const { cause } = error;
  return 128 + constants.signals[cause instanceof Interruption ? cause.signal : 'SIGINT'];
}
