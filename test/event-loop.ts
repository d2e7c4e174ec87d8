import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';

/** Runs `work`, and gives the longest time in milliseconds for which no timer could fire meanwhile. */
export async function longestBlock(work: () => Promise<unknown>): Promise<number> {
  const delays = monitorEventLoopDelay({ resolution: 1 });
  delays.enable();
  await sleep(5);
  delays.reset();
  await work();
  // What blocked last is seen by the timer after it.
  await sleep(5);
  delays.disable();
  return delays.max / 1e6;
}
