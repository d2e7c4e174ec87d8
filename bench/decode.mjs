/**
 * Whole models on the CPU, komt beside its peers:
 *
 *   npm run bench -- [--shapes 100m,1.1b] [--peers transformers-f16,...] [--pairs N] [--threads 2]
 *                   [--calm 0.05]
 *
 * Every engine loads the same random weights and continues the same 512 tokens greedily. Runs come in
 * pairs, komt and then the peer, each in a process of its own, so that whatever else the machine does
 * meets both; docs/benchmarks.md says how to read the figures.
 */
import path from 'node:path';
import { makeCheckpoint } from './make-checkpoint.mjs';
import { leastDisturbed, withDisturbance } from './support/disturbance.mjs';
import { ENGINES, LEFT_OUT, runEngine } from './support/engines.mjs';
import { describeMachine } from './support/machine.mjs';
import { parseOptions } from './support/options.mjs';
import { digits, machineLines, markdownTable, publish } from './support/report.mjs';
import { SHAPES } from './support/shapes.mjs';
import { median, pairedRatio, summarize } from './support/statistics.mjs';

const options = parseOptions(
  { repeats: 1, prompt: 512, 'new-tokens': 65 },
  {
    shapes: { type: 'string', default: '100m,1.1b' },
    peers: {
      type: 'string',
      default: 'transformers-f16,transformers-bf16,transformers-f32,node-llama-cpp',
    },
    pairs: { type: 'string' },
  },
);
const { threads, 'new-tokens': newTokens } = options;
/** A small model's run is short, so that noise weighs more and more runs can be had. */
const pairsFor = (parameters) => Number(options.pairs ?? (parameters < 5e8 ? 5 : 3));

/** Ordinary tokens, spread over the vocabulary, the same for every engine. */
const prompt = Array.from({ length: options.prompt }, (_, i) => 300 + ((i * 7919) % 31000));

/** Figures of one process: medians of its repeats. */
function figures({ ready_s, runs, peak_rss_bytes }) {
  return {
    ready_s,
    prefill: median(runs.map(({ prefill_s }) => prompt.length / prefill_s)),
    decode: median(runs.map(({ decode_s }) => (newTokens - 1) / decode_s)),
    peak_rss_bytes,
  };
}

/** How many tokens of the answer are the same. */
function agreement(a, b) {
  const until = a.findIndex((token, i) => token !== b[i]);
  return until === -1 ? a.length : until;
}

/** komt and then a peer; `disturbance` is that of the more disturbed of the two. */
async function measurePair(peer, spec) {
  const run = (engine) =>
    withDisturbance(
      () => runEngine(engine, spec),
      ({ cpu_s }) => cpu_s,
    );
  const mine = await run('komt');
  const theirs = await run(peer);
  const own = figures(mine.result);
  const its = figures(theirs.result);
  const disturbance = Math.max(mine.disturbance, theirs.disturbance);
  console.error(
    `  decode ${digits(own.decode)} and ${digits(its.decode)} tokens/s, prefill ${digits(own.prefill)} ` +
      `and ${digits(its.prefill)}; others took ${(disturbance * 100).toFixed(0)} % of the machine`,
  );
  return {
    own,
    its,
    disturbance,
    version: theirs.result.version,
    sameTokens: agreement(mine.result.runs[0].tokens, theirs.result.runs[0].tokens),
  };
}

async function comparePeer(peer, spec, pairs) {
  const kept = await leastDisturbed(pairs, () => measurePair(peer, spec), options.calm);
  const of = (key) => kept.map((pair) => pair[key]);
  const ratio = (key) =>
    pairedRatio(
      of('own').map((sample) => sample[key]),
      of('its').map((sample) => sample[key]),
    );
  return {
    peer,
    version: kept[0].version,
    sameTokens: Math.min(...of('sameTokens')),
    disturbance: of('disturbance'),
    own: of('own'),
    its: of('its'),
    ratio: { prefill: ratio('prefill'), decode: ratio('decode') },
  };
}

function summary(label, samples, ratio) {
  const of = (key) => summarize(samples.map((sample) => sample[key]));
  return {
    label,
    ready_s: of('ready_s'),
    prefill: of('prefill'),
    decode: of('decode'),
    peak_rss_bytes: of('peak_rss_bytes'),
    ratio,
  };
}

async function measureShape(name, peers) {
  const checkpoint = path.join(options.folder, name);
  const { gguf, parameters } = makeCheckpoint(checkpoint, { shape: SHAPES[name], gguf: true });
  const spec = {
    checkpoint,
    gguf,
    threads,
    prompt,
    new_tokens: newTokens,
    repeats: options.repeats,
  };
  const pairs = pairsFor(parameters);
  const comparisons = [];
  for (const peer of peers) {
    console.error(`${name}: komt and ${ENGINES[peer].label}`);
    comparisons.push(await comparePeer(peer, spec, pairs));
  }
  const own = comparisons.flatMap((comparison) => comparison.own);
  while (own.length < pairs) own.push(figures(await runEngine('komt', spec)));
  return {
    shape: name,
    parameters,
    engines: [
      summary(ENGINES.komt.label, own, null),
      ...comparisons.map(({ peer, its, ratio }) => summary(ENGINES[peer].label, its, ratio)),
    ],
    comparisons,
  };
}

function toMarkdown({ machine, settings, versions, skipped, model }) {
  const cell = ({ median: m, min, max }) => `${digits(m)} (${digits(min)}-${digits(max)})`;
  const rows = model.engines.map(({ label, ready_s, prefill, decode, peak_rss_bytes, ratio }) => [
    label,
    cell(ready_s),
    cell(prefill),
    cell(decode),
    `${(peak_rss_bytes.median / 1e6).toFixed(0)} MB`,
    ratio ? cell(ratio.prefill) : '',
    ratio ? cell(ratio.decode) : '',
  ]);
  const header = [
    'engine',
    'ready, s',
    'prefill, tokens/s',
    'decode, tokens/s',
    'peak memory',
    'komt / it, prefill',
    'komt / it, decode',
  ];
  const notes = Object.entries(versions).map(([name, version]) => `- ${name} ${version}`);
  const absent = Object.entries(skipped).map(([name, why]) => `- without ${name}: ${why}`);
  return [
    `# Decoding on the CPU: ${(model.parameters / 1e6).toFixed(0)} M parameters`,
    [machineLines(machine), ...notes, ...absent].join('\n'),
    `${settings.threads} threads, prompt of ${settings.prompt} tokens, ${settings.new_tokens} new ones, ` +
      'greedy; medians (least-most) over processes. Ratios are of pairs run one after the other, ' +
      `${settings.pairs} for each peer; above 1 means that komt is faster.`,
    markdownTable(header, rows),
  ].join('\n\n');
}

/** The peers asked for that are here; the others go into `skipped` with the reason. */
function availablePeers(skipped) {
  return options.peers.split(',').filter((peer) => {
    if (!ENGINES[peer])
      throw new Error(`Unknown engine ${peer}: ${Object.keys(ENGINES).join(', ')}`);
    const why = ENGINES[peer].missing();
    if (why) {
      skipped[peer] = why;
      console.error(`skipped ${peer}: ${why}`);
    }
    return !why;
  });
}

async function main() {
  const skipped = { ...LEFT_OUT };
  const peers = availablePeers(skipped);
  for (const name of options.shapes.split(',')) {
    const machine = describeMachine();
    const model = await measureShape(name, peers);
    const versions = Object.fromEntries(
      model.comparisons.map(({ peer, version }) => [peer.replace(/-(f16|bf16|f32)$/, ''), version]),
    );
    const settings = {
      threads,
      prompt: prompt.length,
      new_tokens: newTokens,
      repeats: options.repeats,
      pairs: pairsFor(model.parameters),
    };
    const result = { machine, settings, versions, skipped, model };
    publish(`decode-${name}`, result, toMarkdown(result), options.save);
  }
}

await main();
