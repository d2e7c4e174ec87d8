/** Whether this machine has a GPU that the addon can use; suites here skip where it has none. */
import { device } from 'komt/kernels';
import { describe } from 'vitest';

/** The emulated device takes a GPU's place where tools/gpu-run.sh --emulated asks for it. */
export const DEVICE = process.env.KOMT_TEST_DEVICE ?? 'cuda';

function whyNot(): string | null {
  try {
    device(DEVICE).dispose();
    return null;
  } catch (error) {
    return `no CUDA device: ${(error as Error).message.split('\n')[0]}`;
  }
}

/** Why suites are skipped; null where there is a GPU. */
export const absent = whyNot();

// tools/gpu-run.sh sets it where the driver lists a GPU: then a suite that skips itself proves nothing.
if (absent && (process.env.KOMT_REQUIRE_GPU || DEVICE !== 'cuda'))
  throw new Error(`A device is required, but: ${absent}`);

export function describeOnGpu(title: string, body: () => void): void {
  if (absent) console.log(`${absent}: skipped ${title}`);
  describe.skipIf(absent !== null)(title, body);
}
