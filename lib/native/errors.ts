import {
  AbortError,
  CheckpointError,
  DeviceError,
  DisposedError,
  InvalidArgumentError,
  KomtError,
  OutOfMemoryError,
} from '../errors.js';
import type { NativeError } from './addon.js';

/** An error from the addon as one of the library's, with the stack of the JavaScript that called. */
export function toKomtError(error: NativeError, signal?: AbortSignal): Error {
  const { message, kind, file, subject } = error;
  const details = { file, subject };
  switch (kind) {
    case 'invalid_argument':
      return new InvalidArgumentError(message, details);
    case 'checkpoint':
      return new CheckpointError(message, details);
    case 'out_of_memory':
      return new OutOfMemoryError(message, {
        bytesNeeded: error.bytesNeeded ?? 0,
        bytesFree: error.bytesFree,
      });
    case 'device':
      return new DeviceError(message);
    case 'disposed':
      return new DisposedError(message);
    case 'aborted':
      return new AbortError(signal?.reason);
    case undefined:
      return error;
    default:
      return new KomtError(`Internal error: ${message}`, {
        remedy: 'This is a bug in komt; please report it with the steps that lead here.',
      });
  }
}

/** Calls the addon and rewords what it throws. */
export function guard<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw toKomtError(error as NativeError);
  }
}
