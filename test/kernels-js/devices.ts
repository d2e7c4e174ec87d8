/** Devices to run the suites on: the GPU where there is one, and the emulated one where it was built. */
import { type Device, device } from 'komt/kernels';
import { describe } from 'vitest';
import { DeviceError, NativeLoadError } from '../../lib/errors.js';

function whyAbsent(name: string): string | null {
  try {
    device(name).dispose();
    return null;
  } catch (error) {
    if (!(error instanceof DeviceError || error instanceof NativeLoadError)) throw error;
    if (error instanceof NativeLoadError && name === 'cuda-emulated') {
      return 'not built; npm run build:emulated builds it';
    }
    return error.message.split('\n')[0] as string;
  }
}

/** A suite for each device; where there is none it is skipped, and says why. */
export function describeOnDevices(title: string, body: (open: () => Device) => void): void {
  for (const name of ['cuda', 'cuda-emulated']) {
    const reason = whyAbsent(name);
    if (reason) {
      console.log(`skipped: ${title} on ${name}: ${reason}`);
      describe.skip(`${title} on ${name} (${reason})`, () => body(() => device(name)));
    } else {
      describe(`${title} on ${name}`, () => body(() => device(name)));
    }
  }
}
