/** node-llama-cpp from the folder that KOMT_BENCH_NODE_LLAMA_CPP names; see docs/benchmarks.md. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { runEngine, TokenClock } from './protocol.mjs';

const prefix = path.resolve(process.env.KOMT_BENCH_NODE_LLAMA_CPP ?? '.');
const entry = createRequire(path.join(prefix, 'package.json')).resolve('node-llama-cpp');
const { getLlama, LlamaLogLevel } = await import(pathToFileURL(entry).href);
const { version } = JSON.parse(
  readFileSync(path.join(path.dirname(entry), '../package.json'), 'utf8'),
);

await runEngine(async ({ gguf, threads, prompt, new_tokens }) => {
  const started = performance.now();
  const llama = await getLlama({
    gpu: false,
    build: 'never',
    maxThreads: threads,
    logLevel: LlamaLogLevel.error,
    progressLogs: false,
  });
  const model = await llama.loadModel({ modelPath: gguf });
  const context = await model.createContext({
    threads,
    contextSize: prompt.length + new_tokens + 8,
  });
  const sequence = context.getSequence();
  const greedy = { temperature: 0, yieldEogToken: true };
  for await (const _ of sequence.evaluate(prompt.slice(0, 1), greedy)) break;
  const ready_s = (performance.now() - started) / 1000;

  const generate = async () => {
    await sequence.clearHistory();
    const clock = new TokenClock();
    let left = new_tokens;
    for await (const token of sequence.evaluate(prompt, greedy)) {
      clock.token(token);
      if (--left === 0) break;
    }
    return clock.result();
  };
  return { version, ready_s, generate, dispose: () => llama.dispose() };
});
