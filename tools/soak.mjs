// Memory, threads and descriptors over thousands of rounds: what is given back must come back.
//   npm run test:soak [-- --rounds 1000 --generates 10000]
// Prints a curve a case and 'N passed, N failed'. The first fifth of a case warms up; from there on the
// resident set may grow by MOST_GROWTH, threads and descriptors by nothing. The script keeps V8's young
// generation small: it grows in steps of 16 MB at any time, which is no leak and hides one.
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const { AutoModelForCausalLM } = await import(path.join(root, 'dist/index.js'));
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '1000' },
    generates: { type: 'string', default: '10000' },
    model: {
      type: 'string',
      default: path.join(root, 'test/fixtures/goldens/models/llama-mha-fp16'),
    },
  },
});
const rounds = Number(values.rounds);
const generates = Number(values.generates);

/** Bytes. A leak of one small model a round would be a hundred times as much. */
const MOST_GROWTH = 16 * 2 ** 20;
const POINTS = 10;

const load = (options = {}) =>
  AutoModelForCausalLM.from_pretrained(values.model, { num_threads: 1, ...options });
const prompt = { input_ids: [[1, 9, 8, 7]], eos_token_id: null, do_sample: false };

const count = (folder) => readdirSync(folder).length;
async function state() {
  // Finalizers run a turn of the event loop after the collection.
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return {
    rss: process.memoryUsage().rss,
    threads: count('/proc/self/task'),
    descriptors: count('/proc/self/fd'),
  };
}

let passed = 0;
let failed = 0;
/** Runs `round(i)` `times` times and looks at what is held meanwhile. */
async function soak(name, times, round) {
  const started = performance.now();
  const curve = [];
  for (let i = 0; i < times; i++) {
    await round(i);
    if ((i + 1) % Math.ceil(times / POINTS) === 0) curve.push(await state());
  }
  const [first, last] = [curve[1], curve.at(-1)];
  const growth = last.rss - first.rss;
  const kept = ['threads', 'descriptors'].filter((what) => last[what] > first[what]);
  const flat = growth < MOST_GROWTH && kept.length === 0;
  if (flat) passed++;
  else failed++;
  const megabytes = curve.map(({ rss }) => (rss / 2 ** 20).toFixed(0)).join(' ');
  console.log(
    `${flat ? 'ok  ' : 'FAIL'} ${name}: ${times} rounds, ${((performance.now() - started) / 1000).toFixed(1)} s\n` +
      `     resident MiB ${megabytes}; threads ${first.threads} -> ${last.threads}, ` +
      `descriptors ${first.descriptors} -> ${last.descriptors}`,
  );
}

await soak('load, generate, abort, dispose', rounds, async (i) => {
  const controller = new AbortController();
  // Every other one is ended somewhere: while it loads, generates or is done.
  if (i % 2) setTimeout(() => controller.abort(), i % 5);
  const { signal } = controller;
  const model = await load({ signal }).catch(() => null);
  await model?.generate({ ...prompt, max_new_tokens: 20, signal }).catch(() => {});
  await model?.dispose();
});

{
  const model = await load();
  const { signal } = new AbortController();
  await soak('generate, one signal', generates, () =>
    model.generate({ ...prompt, max_new_tokens: 3, signal }),
  );
  await soak('stream, left half way', Math.ceil(generates / 10), async () => {
    for await (const _ of model.stream({ ...prompt, max_new_tokens: 20, signal })) break;
  });
  await soak('a criterion that throws', Math.ceil(generates / 10), () =>
    model
      .generate({
        ...prompt,
        max_new_tokens: 5,
        stopping_criteria: [
          () => {
            throw new Error('as planned');
          },
        ],
      })
      .catch(() => {}),
  );
  await model.dispose();
}

// The garbage collector is told of an engine's memory, so that it collects those that nobody disposed.
await soak('load, generate, forget', Math.ceil(rounds / 4), async () => {
  const model = await load();
  await model.generate({ ...prompt, max_new_tokens: 2 });
});

console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
