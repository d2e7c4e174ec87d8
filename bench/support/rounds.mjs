import { pairedRatio, summarize } from './statistics.mjs';

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

/**
 * Runs every variant once a round, in an order that turns by one each round, after one round that does
 * not count.
 *
 * @param variants label to whatever `measure` takes; the first is what the others are compared with
 * @param measure gives a rate
 * @returns per variant its rates, and their ratios to the first variant's of the same round
 */
export async function timeRounds(variants, rounds, measure) {
  const labels = Object.keys(variants);
  const rates = Object.fromEntries(labels.map((label) => [label, []]));
  for (let round = -1; round < rounds; round++) {
    for (let i = 0; i < labels.length; i++) {
      const label = labels[(i + round + 1) % labels.length];
      const rate = await measure(variants[label]);
      if (round >= 0) rates[label].push(rate);
    }
  }
  return labels.map((label, i) => ({
    label,
    rate: summarize(rates[label]),
    ratio: i === 0 ? null : pairedRatio(rates[label], rates[labels[0]]),
    rates: rates[label],
  }));
}
