/**
 * What streaming text costs on 100 M parameters, and how fast the tokenizer is:
 *
 *   node bench/streaming.mjs [--rounds 20] [--new-tokens 64] [--threads 2] [--calm 0.05]
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import {
  answerRate,
  loadModel,
  parseAnswerOptions,
  settingsLine,
  settingsOf,
  timeAdded,
} from './support/answers.mjs';
import { AutoTokenizer, TextStreamer } from './support/komt.mjs';
import { describeMachine, ROOT } from './support/machine.mjs';
import { digits, machineLines, markdownTable, publish } from './support/report.mjs';
import { timeRounds } from './support/rounds.mjs';
import { summarize } from './support/statistics.mjs';

const options = parseAnswerOptions(64);

async function streamingRates() {
  const { model, tokenizer } = await loadModel(options);
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
  const { new_tokens } = options;
  const rates = await timeRounds(variants, options, (extra) =>
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
    summarize(Array.from({ length: options.rounds + 2 }, () => time(work)).slice(2));
  return {
    encode: measure(() => texts.map((text) => tokenizer.encode(text))),
    decode: measure(() => ids.map((row) => tokenizer.decode(row))),
  };
}

const machine = describeMachine();
const streaming = await streamingRates();
const tokenizer = await tokenizerRates();
const markdown = [
  '# Streaming and tokenizing',
  machineLines(machine),
  settingsLine(options),
  markdownTable(
    ['streamer', 'tokens/s', 'time added'],
    streaming.map(({ label, rate, ratio }) => [
      label,
      digits(rate.median),
      ratio ? timeAdded(ratio.median) : '',
    ]),
  ),
  'The tokenizer of models/komt-tiny over its own Korean texts, one thread:',
  markdownTable(
    ['', 'tokens/s'],
    Object.entries(tokenizer).map(([name, rate]) => [name, Math.round(rate.median).toString()]),
  ),
].join('\n\n');
const settings = settingsOf(options);
publish('streaming', { machine, settings, streaming, tokenizer }, markdown, options.save);
