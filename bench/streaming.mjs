/**
 * What streaming text costs on 100 M parameters, and how fast the tokenizer is:
 *
 *   node bench/streaming.mjs [--rounds 20] [--new-tokens 64] [--threads 2] [--calm 0.05]
 */
import { readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { makeCheckpoint } from './make-checkpoint.mjs';
import { AutoModelForCausalLM, AutoTokenizer, TextStreamer } from './support/komt.mjs';
import { describeMachine, ROOT } from './support/machine.mjs';
import { digits, machineLines, markdownTable, writeResult } from './support/report.mjs';
import { answerRate, timeRounds } from './support/rounds.mjs';
import { SHAPES } from './support/shapes.mjs';
import { summarize } from './support/statistics.mjs';

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '20' },
    threads: { type: 'string', default: '2' },
    'new-tokens': { type: 'string', default: '64' },
    calm: { type: 'string', default: '0.05' },
    folder: { type: 'string', default: path.join(os.tmpdir(), 'komt-bench') },
    'no-save': { type: 'boolean', default: false },
  },
});
const rounds = Number(options.rounds);
const threads = Number(options.threads);
const new_tokens = Number(options['new-tokens']);

async function streamingRates() {
  const folder = path.join(options.folder, '100m');
  makeCheckpoint(folder, { shape: SHAPES['100m'], gguf: true });
  const tokenizer = await AutoTokenizer.from_pretrained(folder);
  const model = await AutoModelForCausalLM.from_pretrained(folder, {
    device_map: 'cpu',
    num_threads: threads,
  });
  let characters = 0;
  const callback_function = (text) => {
    characters += text.length;
  };
  const streamer = (flush) => () => ({
    streamer: new TextStreamer(tokenizer, { skip_prompt: true, flush, callback_function }),
  });
  const variants = {
    'no streamer': () => ({}),
    "TextStreamer, flush 'char'": streamer('char'),
    "TextStreamer, flush 'word'": streamer('word'),
  };
  const rates = await timeRounds(variants, { rounds, calm: Number(options.calm) }, (extra) =>
    answerRate(model, { new_tokens, ...extra() }),
  );
  await model.dispose();
  if (characters === 0) throw new Error('The streamers wrote nothing');
  return rates;
}

/** Tokens/s of encode and decode over the demonstration model's texts. */
async function tokenizerRates() {
  const folder = path.join(ROOT, 'models/komt-tiny');
  const tokenizer = await AutoTokenizer.from_pretrained(folder);
  const pairs = JSON.parse(readFileSync(path.join(folder, 'seed-qa.json'), 'utf8'));
  const texts = pairs.flatMap(({ instruction, response }) => [instruction, response]);
  const ids = texts.map((text) => tokenizer.encode(text));
  const tokens = ids.reduce((sum, row) => sum + row.length, 0);
  const time = (work) => {
    const started = performance.now();
    for (let i = 0; i < 20; i++) work();
    return (20 * tokens) / ((performance.now() - started) / 1000);
  };
  const measure = (work) =>
    summarize(Array.from({ length: rounds + 2 }, () => time(work)).slice(2));
  return {
    encode: measure(() => texts.map((text) => tokenizer.encode(text))),
    decode: measure(() => ids.map((row) => tokenizer.decode(row))),
  };
}

const machine = describeMachine();
const streaming = await streamingRates();
const tokenizer = await tokenizerRates();
const percent = (ratio) => `${((1 / ratio - 1) * 100).toFixed(1)} %`;
const markdown = [
  '# Streaming and tokenizing',
  machineLines(machine),
  `100 M parameters in float16, ${threads} threads, ${new_tokens} new tokens an answer; medians of ` +
    `${rounds} rounds.`,
  markdownTable(
    ['streamer', 'tokens/s', 'time added'],
    streaming.map(({ label, rate, ratio }) => [
      label,
      digits(rate.median),
      ratio ? percent(ratio.median) : '',
    ]),
  ),
  'The tokenizer of models/komt-tiny over its own Korean texts, one thread:',
  markdownTable(
    ['', 'tokens/s'],
    Object.entries(tokenizer).map(([name, rate]) => [name, Math.round(rate.median).toString()]),
  ),
].join('\n\n');
console.log(markdown);
const settings = { threads, new_tokens, rounds };
if (!options['no-save']) {
  console.error(
    `\n${writeResult('streaming', { machine, settings, streaming, tokenizer }, markdown)}`,
  );
}
