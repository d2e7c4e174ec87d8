/**
 * How decode.mjs talks with an engine's process: a JSON object in the first argument, a JSON object as
 * the last line of standard output.
 *
 * In:  { checkpoint, gguf, dtype, threads, prompt, new_tokens, repeats }
 * Out: { version, ready_s, runs: [{ prefill_s, decode_s, tokens }], peak_rss_bytes, cpu_s }
 */
import { readFileSync } from 'node:fs';

/** Highest resident memory of this process in bytes. */
function peakMemory() {
  try {
    // Unlike getrusage's figure, not inherited from the process that started this one.
    const status = readFileSync('/proc/self/status', 'utf8');
    return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)[1]) * 1024;
  } catch {
    return process.resourceUsage().maxRSS * 1024;
  }
}

/** Times one answer from its construction on. */
export class TokenClock {
  #started = performance.now();
  #times = [];
  #tokens = [];

  token(id) {
    this.#times.push(performance.now());
    this.#tokens.push(id);
  }

  result() {
    const first = this.#times[0];
    return {
      prefill_s: (first - this.#started) / 1000,
      decode_s: (this.#times.at(-1) - first) / 1000,
      tokens: this.#tokens,
    };
  }
}

/**
 * @param start loads the model and gives its `generate`, which answers the prompt once and gives a
 *   TokenClock's result
 */
export async function runEngine(start) {
  const spec = JSON.parse(process.argv[2]);
  const { version, ready_s, generate, dispose } = await start(spec);
  const runs = [];
  for (let i = 0; i < spec.repeats; i++) runs.push(await generate());
  const peak_rss_bytes = peakMemory();
  await dispose();
  const { user, system } = process.cpuUsage();
  const answer = { version, ready_s, runs, peak_rss_bytes, cpu_s: (user + system) / 1e6 };
  process.stdout.write(`\n${JSON.stringify(answer)}\n`);
}
