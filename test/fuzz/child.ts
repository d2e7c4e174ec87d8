/** The process that a target's inputs run in; tools/fuzz.mjs starts it, and outlives it. */
import {
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import type { Session } from 'node:inspector';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { KomtError } from '../../lib/errors.js';
import { Random } from './random.js';
import {
  type Finding,
  type FuzzTarget,
  MAX_BYTES,
  MAX_CPU_MS,
  MAX_WAIT_MS,
  type Report,
} from './target.js';

interface Options {
  seed: number;
  seconds: number;
  /** Folder for this process alone. */
  folder: string;
  corpus: string;
  /** A single input to run. */
  replay?: string;
  /** Where V8's coverage goes. */
  coverage?: string;
  keep: boolean;
}

/** What the process has to say before it ends, in its folder. */
type Message = { finding: Finding } | { report: Report };

/**
 * Watches from a thread of its own, which runs while the main one hangs. `state`: [0] the input's
 * number, [1] its size in bytes; number 0 means that none is running.
 */
const WATCHDOG = `
const { workerData, parentPort } = require('node:worker_threads');
const { state, message: file, maxCpu, maxWait, maxBytes } = workerData;
let number = 0, cpu = 0, at = 0, rss = 0;
const end = (kind, message) => {
  require('node:fs').writeFileSync(file, JSON.stringify({ finding: { kind, message } }));
  process.kill(process.pid, 'SIGKILL');
};
setInterval(() => {
  const now = process.cpuUsage(), used = (now.user + now.system) / 1000, memory = process.memoryUsage.rss();
  if (state[0] !== number || number === 0) {
    number = state[0]; cpu = used; at = performance.now(); rss = memory;
    return;
  }
  if (memory - rss > maxBytes + state[1]) end('too much memory', Math.round((memory - rss) / 1e6) + ' MB');
  if (used - cpu > maxCpu) end('too slow', Math.round(used - cpu) + ' ms of processor time');
  if (performance.now() - at > maxWait) end('too slow', 'no answer after ' + Math.round(performance.now() - at) + ' ms');
}, 20);
`;

function empty(folder: string): void {
  for (const name of readdirSync(folder)) {
    rmSync(path.join(folder, name), { recursive: true, force: true });
  }
}

/** An error's message without what differs from input to input. */
function shapeOf(error: Error): string {
  return `${error.name}: ${error.message.replace(/"[^"]*"|\d+|\/[^\s\]]*/g, '#').slice(0, 80)}`;
}

/** @param inspector counts what runs, from before this module was loaded */
export async function work(
  target: FuzzTarget,
  options: Options,
  inspector: Session,
): Promise<void> {
  const { seed, seconds, replay, coverage, keep } = options;
  const folder = path.join(options.folder, 'inputs');
  const message = path.join(options.folder, 'message');
  const tell = (text: Message): void => writeFileSync(message, JSON.stringify(text));
  const current = openSync(path.join(options.folder, 'current'), 'w');
  mkdirSync(folder, { recursive: true });

  const pool: Uint8Array[] = [];
  if (replay !== undefined) pool.push(readFileSync(replay));
  else {
    pool.push(...(await target.seeds()));
    if (existsSync(options.corpus)) {
      for (const name of readdirSync(options.corpus).sort()) {
        pool.push(readFileSync(path.join(options.corpus, name)));
      }
    }
  }
  await target.prepare?.(folder);
  empty(folder);

  const state = new Int32Array(new SharedArrayBuffer(8));
  const watchdog = new Worker(WATCHDOG, {
    eval: true,
    execArgv: [],
    workerData: {
      state,
      message,
      maxCpu: MAX_CPU_MS,
      maxWait: MAX_WAIT_MS,
      maxBytes: target.maxBytes ?? MAX_BYTES,
    },
  });
  await new Promise((resolve) => watchdog.once('online', resolve));

  const random = new Random(seed);
  const given = pool.length;
  const outcomes = new Set<string>();
  const kept: string[] = [];
  const counts = { inputs: 0, accepted: 0, refused: 0 };
  const end = performance.now() + seconds * 1000;
  // The given inputs first, as they are; then one another's children until the time is up.
  while (counts.inputs < given || (replay === undefined && performance.now() < end)) {
    let input = pool[counts.inputs] as Uint8Array;
    if (counts.inputs >= given) {
      input = random.pick(pool);
      for (let i = random.below(3); i >= 0; i--) input = target.mutate(input, random);
    }
    writeSync(current, input, 0, input.length, 0);
    ftruncateSync(current, input.length);
    Atomics.store(state, 1, input.length);
    Atomics.store(state, 0, ++counts.inputs);
    let outcome = 'accepted';
    try {
      await target.run(input, folder);
      counts.accepted++;
    } catch (error) {
      if (!(error instanceof KomtError)) {
        const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
        tell({ finding: { kind: 'untyped error', message } });
        process.exit(1);
      }
      counts.refused++;
      outcome = shapeOf(error);
    }
    Atomics.store(state, 0, 0);
    if (readdirSync(folder).length > 0) empty(folder);
    // What answers in a new way is a good place to go on from.
    if (!outcomes.has(outcome)) {
      outcomes.add(outcome);
      if (counts.inputs > given && input.length < 1e6) {
        pool.push(input);
        if (keep) kept.push(Buffer.from(input).toString('base64'));
      }
    }
  }
  await watchdog.terminate();
  if (coverage !== undefined) {
    inspector.post('Profiler.takePreciseCoverage', (_, taken) => {
      const own = taken?.result.filter(({ url }) => url === import.meta.url) ?? [];
      writeFileSync(coverage, JSON.stringify(own));
    });
  }
  tell({ report: { ...counts, outcomes: outcomes.size, kept } });
  process.exit(0);
}
