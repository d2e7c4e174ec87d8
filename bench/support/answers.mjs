/**
 * What the benchmarks share that ask a model of 100 M parameters for the same answer in several ways.
 * The time an answer takes otherwise is what a streamer or a criterion is measured against.
 */
import path from 'node:path';
import { makeCheckpoint } from '../make-checkpoint.mjs';
import { AutoModelForCausalLM, AutoTokenizer } from './komt.mjs';
import { parseOptions } from './options.mjs';
import { SHAPES } from './shapes.mjs';

/** `new_tokens` is the default. */
export function parseAnswerOptions(new_tokens) {
  const options = parseOptions({ rounds: 20, 'new-tokens': new_tokens });
  return { ...options, new_tokens: options['new-tokens'] };
}

export async function loadModel({ folder, threads }) {
  const checkpoint = path.join(folder, '100m');
  // With a GGUF because decode.mjs wants one: a checkpoint of another recipe would be made again.
  makeCheckpoint(checkpoint, { shape: SHAPES['100m'], gguf: true });
  return {
    tokenizer: await AutoTokenizer.from_pretrained(checkpoint),
    model: await AutoModelForCausalLM.from_pretrained(checkpoint, {
      device_map: 'cpu',
      num_threads: threads,
    }),
  };
}

/** Tokens/s of one greedy answer to a prompt of four tokens, prompt included in the time. */
export async function answerRate(model, { new_tokens, ...options }) {
  const started = performance.now();
  await model.generate({
    input_ids: [[1, 300, 301, 302]],
    do_sample: false,
    eos_token_id: null,
    max_new_tokens: new_tokens,
    ...options,
  });
  return new_tokens / ((performance.now() - started) / 1000);
}

/** The time that a variant adds to an answer, from its rate over the plain one's. */
export const timeAdded = (ratio) => `${((1 / ratio - 1) * 100).toFixed(1)} %`;

export function settingsOf({ threads, new_tokens, rounds }) {
  return { threads, new_tokens, rounds };
}

export function settingsLine({ threads, new_tokens, rounds }) {
  return (
    `100 M parameters in float16, ${threads} threads, ${new_tokens} new tokens an answer; medians of ` +
    `${rounds} rounds.`
  );
}
