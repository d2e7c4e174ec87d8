/** What a piece of work took. Processor time, as a machine under test may be busy with other things. */
export interface Cost {
  /** What it threw; undefined where it did not. */
  error: unknown;
  /** Milliseconds of processor time, of all threads. */
  cpu: number;
  /** The most of it, in milliseconds, between two moments at which a timer could fire. */
  block: number;
  /** By how many bytes the process grew beyond what it held before. */
  bytes: number;
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Runs `work` and measures it. */
export async function costOf(work: () => Promise<unknown>): Promise<Cost> {
  const cost: Cost = { error: undefined, cpu: 0, block: 0, bytes: 0 };
  const before = process.memoryUsage.rss();
  let last = cpuMs();
  const start = last;
  const look = () => {
    const now = cpuMs();
    cost.block = Math.max(cost.block, now - last);
    cost.bytes = Math.max(cost.bytes, process.memoryUsage.rss() - before);
    last = now;
  };
  const timer = setInterval(look, 1);
  try {
    await work();
  } catch (error) {
    cost.error = error;
  }
  look();
  clearInterval(timer);
  cost.cpu = last - start;
  return cost;
}
