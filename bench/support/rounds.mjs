import { leastDisturbed, withDisturbance } from './disturbance.mjs';
import { pairedRatio, summarize } from './statistics.mjs';

/**
 * Runs every variant once a round, in an order that turns by one each round, after one round that does
 * not count. Rounds that other processes disturbed are done again (disturbance.mjs).
 *
 * @param variants label to whatever `measure` takes; the first is what the others are compared with
 * @param calm share of the machine that others may take, as leastDisturbed has it
 * @param measure gives a rate
 * @returns per variant its rates, and their ratios to the first variant's of the same round
 */
export async function timeRounds(variants, { rounds, calm }, measure) {
  const labels = Object.keys(variants);
  let turn = 0;
  const oneRound = async () => {
    const rates = {};
    for (let i = 0; i < labels.length; i++) {
      const label = labels[(i + turn) % labels.length];
      rates[label] = await measure(variants[label]);
    }
    turn++;
    return rates;
  };
  await oneRound();
  const kept = await leastDisturbed(
    rounds,
    async () => {
      const { result, disturbance } = await withDisturbance(oneRound);
      return { rates: result, disturbance };
    },
    calm,
  );
  const ratesOf = (label) => kept.map(({ rates }) => rates[label]);
  return labels.map((label, i) => ({
    label,
    rate: summarize(ratesOf(label)),
    ratio: i === 0 ? null : pairedRatio(ratesOf(label), ratesOf(labels[0])),
    rates: ratesOf(label),
    disturbance: kept.map(({ disturbance }) => disturbance),
  }));
}
