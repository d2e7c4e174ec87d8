/**
 * For how long the library keeps the event loop from turning, on 100 M parameters:
 *
 *   node bench/event-loop.mjs [--rounds 5] [--threads 2] [--no-save]
 *
 * Each operation runs in every round; what is told of it is the longest delay of a round, as the
 * median and the maximum over the rounds.
 */
import path from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeCheckpoint } from './make-checkpoint.mjs';
import { AutoModelForCausalLM, AutoTokenizer, setWarningHandler } from './support/komt.mjs';
import { describeMachine } from './support/machine.mjs';
import { parseOptions } from './support/options.mjs';
import { machineLines, markdownTable, publish } from './support/report.mjs';
import { SHAPES } from './support/shapes.mjs';
import { summarize } from './support/statistics.mjs';

/** What design and documentation promise. */
const PROMISED_MS = 20;

const options = parseOptions({ rounds: 5 });
const { rounds, threads } = options;
const machine = describeMachine();
const checkpoint = path.join(options.folder, '100m');
makeCheckpoint(checkpoint, { shape: SHAPES['100m'], gguf: true });
setWarningHandler(() => {});

const results = new Map();
/** Runs `work` and notes the longest time for which nothing else could. */
async function measure(name, work) {
  await sleep(50);
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const started = performance.now();
  const value = await work();
  const total = performance.now() - started;
  await sleep(20);
  delay.disable();
  const row = results.get(name) ?? { longest: [], total: [] };
  row.longest.push(delay.max / 1e6);
  row.total.push(total);
  results.set(name, row);
  return value;
}

const korean = '자동차 종합(정기)검사 의무기간은 얼마인가요? 안녕하세요 반갑습니다. '.repeat(
  11_000,
);
const thousand = [Array.from({ length: 1000 }, (_, i) => i + 5)];
const prompt = { input_ids: [thousand[0].slice(0, 16)], eos_token_id: null };
for (let round = 0; round < rounds; round++) {
  const tokenizer = await measure('load the tokenizer', () =>
    AutoTokenizer.from_pretrained(checkpoint),
  );
  const model = await measure('load the model', () =>
    AutoModelForCausalLM.from_pretrained(checkpoint, { device_map: 'cpu', num_threads: threads }),
  );
  const generate = (name, extra) => measure(name, () => model.generate({ ...prompt, ...extra }));
  const sampled = { do_sample: true, top_p: 0.7, temperature: 0.9 };
  await generate('greedy, 60 tokens', { max_new_tokens: 60 });
  await generate('sampled, 60 tokens', { max_new_tokens: 60, ...sampled });
  await generate('sampled without repeated 3-grams, 30 tokens', {
    max_new_tokens: 30,
    no_repeat_ngram_size: 3,
    ...sampled,
  });
  await generate('logits processor and criterion in JavaScript, 30 tokens', {
    max_new_tokens: 30,
    logits_processor: [(_, scores) => scores],
    stopping_criteria: [() => false],
  });
  await generate('4 beams, 30 tokens', { max_new_tokens: 30, num_beams: 4 });
  await measure('prefill of 1,000 tokens', () =>
    model.generate({ input_ids: thousand, max_new_tokens: 1, eos_token_id: null }),
  );
  await measure('forward of 1,000 tokens, all logits', () => model.forward(thousand));
  await measure('encode 1 MB of Korean', () => tokenizer.encode_async(korean));
  await measure('dispose', () => model.dispose());
}

const rows = [...results].map(([operation, { longest, total }]) => ({
  operation,
  longest: summarize(longest),
  total: summarize(total),
}));
const markdown = [
  '# How long the event loop stands still',
  machineLines(machine),
  `100 M parameters in float16, ${threads} threads; ${rounds} rounds. Promised are ${PROMISED_MS} ms.`,
  markdownTable(
    ['operation', 'takes, ms', 'longest delay, ms', 'of all rounds, ms'],
    rows.map(({ operation, longest, total }) => [
      operation,
      total.median.toFixed(0),
      longest.median.toFixed(1),
      longest.max.toFixed(1),
    ]),
  ),
].join('\n\n');
publish('event-loop', { machine, settings: { rounds, threads }, rows }, markdown, options.save);
