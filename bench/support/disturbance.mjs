/**
 * How busy the machine was with anything else during a measurement, so that disturbed ones can be
 * done again. What is kept is chosen by this alone, never by the figure measured.
 */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

/** Processor seconds that all processes (and other guests of the host) have used; null if untold. */
function busySeconds() {
  try {
    const [user, nice, system, , , irq, softirq, steal] = /^cpu\s+(.*)$/m
      .exec(readFileSync('/proc/stat', 'utf8'))[1]
      .split(' ')
      .map(Number);
    return (user + nice + system + irq + softirq + steal) / 100;
  } catch {
    return null;
  }
}

/** Processor seconds of this process. */
function ownSeconds() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/**
 * Runs work and tells which share of the machine others took meanwhile; 0 where the system does not
 * tell.
 *
 * @param childSeconds processor seconds of processes the work started, from its result
 */
export async function withDisturbance(work, childSeconds = () => 0) {
  const busy = busySeconds();
  const own = ownSeconds();
  const started = performance.now();
  const result = await work();
  const seconds = (performance.now() - started) / 1000;
  if (busy === null) return { result, disturbance: 0 };
  const others = busySeconds() - busy - (ownSeconds() - own) - childSeconds(result);
  return { result, disturbance: Math.max(0, others / seconds / os.cpus().length) };
}

/** Returns once others took less than `share` of the machine for a second, or after `limit` seconds. */
async function waitForCalm(share = 0.1, limit = 10) {
  for (let waited = 0; waited < limit; waited++) {
    const { disturbance } = await withDisturbance(() => sleep(1000));
    if (disturbance < share) return;
  }
}

/**
 * Measures until `count` results are disturbed by less than `share`, at most `3 * count` times.
 *
 * @param measure gives `{ disturbance, ... }`
 * @param share of the machine's processors; 1 takes every result
 * @returns the `count` least disturbed, in the order measured
 */
export async function leastDisturbed(count, measure, share) {
  const all = [];
  const calm = () => all.filter(({ disturbance }) => disturbance < share).length;
  while (all.length < 3 * count && calm() < count) {
    all.push(await measure());
    if (all.at(-1).disturbance >= share) await waitForCalm();
  }
  const kept = all.toSorted((a, b) => a.disturbance - b.disturbance).slice(0, count);
  return all.filter((sample) => kept.includes(sample));
}
