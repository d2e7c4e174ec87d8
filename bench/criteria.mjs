/**
 * What a user's stopping criterion in JavaScript costs, on 100 M parameters:
 *
 *   node bench/criteria.mjs [--rounds 20] [--new-tokens 128] [--threads 2] [--calm 0.05]
 *
 * One model; in every round each variant answers once, in turn, so that each is compared with the run
 * without a criterion next to it.
 */
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { makeCheckpoint } from './make-checkpoint.mjs';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  StoppingCriteria,
  StoppingCriteriaList,
} from './support/komt.mjs';
import { describeMachine } from './support/machine.mjs';
import { digits, machineLines, markdownTable, writeResult } from './support/report.mjs';
import { answerRate, timeRounds } from './support/rounds.mjs';
import { SHAPES } from './support/shapes.mjs';

const { values: options } = parseArgs({
  options: {
    rounds: { type: 'string', default: '20' },
    threads: { type: 'string', default: '2' },
    'new-tokens': { type: 'string', default: '128' },
    calm: { type: 'string', default: '0.05' },
    folder: { type: 'string', default: path.join(os.tmpdir(), 'komt-bench') },
    'no-save': { type: 'boolean', default: false },
  },
});
const rounds = Number(options.rounds);
const threads = Number(options.threads);
const new_tokens = Number(options['new-tokens']);

const STOP_WORDS = ['</s>', '###'];
const endsWithStopWord = (text) => STOP_WORDS.some((word) => text.endsWith(word));

/** The model card's criterion: decodes everything, prompt included, after every token. */
class StopOnText extends StoppingCriteria {
  constructor(tokenizer) {
    super();
    this.tokenizer = tokenizer;
  }

  _call(input_ids) {
    return input_ids.map((ids) => endsWithStopWord(this.tokenizer.decode(ids)));
  }
}

/** The same of the last tokens only. */
class StopOnLastTokens extends StopOnText {
  _call(input_ids) {
    return input_ids.map((ids) => endsWithStopWord(this.tokenizer.decode(ids.slice(-8))));
  }
}

/** Answers with a promise, after the event loop has turned once. */
class StopLater extends StopOnLastTokens {
  async _call(input_ids) {
    await new Promise((resolve) => setImmediate(resolve));
    return super._call(input_ids);
  }
}

const folder = path.join(options.folder, '100m');
makeCheckpoint(folder, { shape: SHAPES['100m'], gguf: true });
const machine = describeMachine();
const tokenizer = await AutoTokenizer.from_pretrained(folder);
const model = await AutoModelForCausalLM.from_pretrained(folder, {
  device_map: 'cpu',
  num_threads: threads,
});
const list = (criterion) => ({ stopping_criteria: new StoppingCriteriaList([criterion]) });
const variants = {
  'no criterion': {},
  'decodes the last 8 tokens': list(new StopOnLastTokens(tokenizer)),
  'the same, async': list(new StopLater(tokenizer)),
  'decodes everything (the model card)': list(new StopOnText(tokenizer)),
};
const results = await timeRounds(variants, { rounds, calm: Number(options.calm) }, (extra) =>
  answerRate(model, { new_tokens, ...extra }),
);
await model.dispose();

const added = (ratio) => `${((1 / ratio - 1) * 100).toFixed(1)} %`;
const rows = results.map(({ label, rate, ratio }) => [
  label,
  digits(rate.median),
  ratio ? added(ratio.median) : '',
  ratio ? `${added(ratio.threeQuarters)} to ${added(ratio.quarter)}` : '',
]);
const markdown = [
  '# What a stopping criterion costs',
  machineLines(machine),
  `100 M parameters in float16, ${threads} threads, ${new_tokens} new tokens an answer; medians of ` +
    `${rounds} rounds. The time added is that of an answer against the one without a criterion in the ` +
    'same round; half of the rounds lie in the middle half.',
  markdownTable(['criterion', 'tokens/s', 'time added', 'middle half'], rows),
].join('\n\n');
console.log(markdown);
const settings = { threads, new_tokens, rounds };
if (!options['no-save']) {
  console.error(`\n${writeResult('criteria', { machine, settings, results }, markdown)}`);
}
