/**
 * What a user's stopping criterion in JavaScript costs, on 100 M parameters:
 *
 *   node bench/criteria.mjs [--rounds 20] [--new-tokens 128] [--threads 2] [--calm 0.05]
 *
 * One model; in every round each variant answers once, in turn, so that each is compared with the run
 * without a criterion next to it.
 */
import {
  answerRate,
  loadModel,
  parseAnswerOptions,
  settingsLine,
  settingsOf,
  timeAdded,
} from './support/answers.mjs';
import { StoppingCriteria, StoppingCriteriaList } from './support/komt.mjs';
import { describeMachine } from './support/machine.mjs';
import { digits, machineLines, markdownTable, publish } from './support/report.mjs';
import { timeRounds } from './support/rounds.mjs';

const options = parseAnswerOptions(128);

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

const machine = describeMachine();
const { model, tokenizer } = await loadModel(options);
const list = (criterion) => ({ stopping_criteria: new StoppingCriteriaList([criterion]) });
const variants = {
  'no criterion': {},
  'decodes the last 8 tokens': list(new StopOnLastTokens(tokenizer)),
  'the same, async': list(new StopLater(tokenizer)),
  'decodes everything (the model card)': list(new StopOnText(tokenizer)),
};
const { new_tokens } = options;
const results = await timeRounds(variants, options, (extra) =>
  answerRate(model, { new_tokens, ...extra }),
);
await model.dispose();

const rows = results.map(({ label, rate, ratio }) => [
  label,
  digits(rate.median),
  ratio ? timeAdded(ratio.median) : '',
  ratio ? `${timeAdded(ratio.threeQuarters)} to ${timeAdded(ratio.quarter)}` : '',
]);
const markdown = [
  '# What a stopping criterion costs',
  machineLines(machine),
  `${settingsLine(options)} The time added is that of an answer against the one without a criterion ` +
    'in the same round; half of the rounds lie in the middle half.',
  markdownTable(['criterion', 'tokens/s', 'time added', 'middle half'], rows),
].join('\n\n');
publish('criteria', { machine, settings: settingsOf(options), results }, markdown, options.save);
