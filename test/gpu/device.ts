/** Whether this machine has a GPU that the addon can use; suites here skip where it has none. */
import { describe } from 'vitest';
import { listDevices } from '../../lib/index.js';

function whyNot(): string | null {
  try {
    return listDevices().some(({ name }) => name.startsWith('cuda:')) ? null : 'no CUDA device';
  } catch (error) {
    return (error as Error).message.split('\n')[0] as string;
  }
}

/** Why suites are skipped; null where there is a GPU. */
export const absent = whyNot();

// tools/gpu-run.sh sets it where the driver lists a GPU: then a suite that skips itself proves nothing.
if (absent && process.env.KOMT_REQUIRE_GPU)
  throw new Error(`KOMT_REQUIRE_GPU is set, but: ${absent}`);

export function describeOnGpu(title: string, body: () => void): void {
  if (absent) console.log(`${absent}: skipped ${title}`);
  describe.skipIf(absent !== null)(title, body);
}
