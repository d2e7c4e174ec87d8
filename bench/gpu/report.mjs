/**
 * Makes gpu.json, in the same folder, and gpu.md of what the stages of tools/gpu-run.sh left in a folder:
 *
 *   node bench/gpu/report.mjs FOLDER SECONDS GPU.MD
 *   node bench/gpu/report.mjs FOLDER SECONDS --brief      prints the main figures, some lines
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { digits, markdownTable } from '../support/report.mjs';

const [folder, seconds, target] = process.argv.slice(2);

/** A stage's JSON; null where it left none. */
function read(name) {
  try {
    return JSON.parse(readFileSync(path.join(folder, name), 'utf8'));
  } catch {
    return null;
  }
}

const stages = readFileSync(path.join(folder, 'stages.jsonl'), 'utf8')
  .split('\n')
  .filter(Boolean)
  .map((line) => JSON.parse(line));
const facts = read('facts.json') ?? {};
const models = read('models.json')?.results ?? [];
const kernels = read('kernels.json');
const torch = read('torch.json');
const launch = read('launch.json')?.results ?? [];
const logits = read('logits.json');

/** What ncu says of one launch of each of the hottest kernels. */
function counters() {
  const names = readdirSync(folder).filter((name) => /^ncu-.*\.txt$/.test(name));
  return names.flatMap((name) => {
    const text = readFileSync(path.join(folder, name), 'utf8');
    const value = (metric, unit) =>
      Number(
        new RegExp(`^ *${metric} +${unit} +([0-9.,]+)`, 'm').exec(text)?.[1].replaceAll(',', ''),
      );
    const us = value('Duration', 'us(?:econd)?') || 1000 * value('Duration', 'ms(?:econd)?');
    if (!us) return [];
    return [
      {
        kernel: name.slice('ncu-'.length, -'.txt'.length),
        us,
        dram_percent: value('DRAM Throughput', '%'),
        sm_percent: value('Compute \\(SM\\) Throughput', '%'),
        occupancy_percent: value('Achieved Occupancy', '%'),
        registers: value('Registers Per Thread', 'register/thread'),
      },
    ];
  });
}
const profiled = counters();

/** Ceilings that the C++ microbenchmarks measure: a read-only stream, mma.sync from registers. */
function nativeCeilings() {
  try {
    const log = readFileSync(path.join(folder, 'bench-native.log'), 'utf8');
    const found = /reads (\d+) GB\/s, mma\.sync (\d+) TFLOP\/s/.exec(log);
    return found && { read_bytes_per_s: 1e9 * found[1], mma_flops: 1e12 * found[2] };
  } catch {
    return null;
  }
}
const ceilings = nativeCeilings();

const percent = (part, whole) =>
  part === undefined || !whole ? '' : `${((100 * part) / whole).toFixed(1)}%`;
const figure = (value, scale = 1) => (value === undefined ? '' : digits(value * scale));

function modelTable() {
  const lengths = [
    ...new Set(models.flatMap(({ komt }) => Object.keys(komt?.time_to_first_token_s ?? {}))),
  ];
  const header = [
    'model',
    'layers',
    'decode, tokens/s',
    'GB/s',
    'of the read bandwidth',
    ...lengths.map((n) => `first token after ${n}, ms`),
    'load, GB/s',
    'host share of a step',
    'transformers, tokens/s',
    ...lengths.map((n) => `transformers: ${n}, ms`),
  ];
  const rows = models.map((model) => {
    const { shape, layers, komt, transformers, copy_bytes_per_s, host_share } = model;
    if (!komt) return [shape, `failed: ${model.failed}`, ...header.slice(2).map(() => '')];
    const ceiling = ceilings?.read_bytes_per_s ?? copy_bytes_per_s;
    return [
      shape,
      layers,
      figure(komt.decode_tokens_per_s),
      figure(komt.decode_bytes_per_s, 1e-9),
      percent(komt.decode_bytes_per_s, ceiling),
      ...lengths.map((n) => figure(komt.time_to_first_token_s[n], 1e3)),
      figure(komt.load_bytes_per_s, 1e-9),
      percent(host_share, 1),
      figure(transformers?.decode_tokens_per_s) || (transformers?.skipped ?? transformers?.failed),
      ...lengths.map((n) => figure(transformers?.time_to_first_token_s?.[n], 1e3)),
    ];
  });
  return markdownTable(header, rows);
}

function kernelTable() {
  const peers = [...new Set((torch?.results ?? []).map(({ by }) => by))];
  const header = [
    'kernel',
    'what',
    'us',
    'rate',
    'of the ceiling',
    ...peers.map((by) => `${by}: its time / ours`),
  ];
  const rows = kernels.results.map(({ kernel, what, us, bytes, rate }) => {
    const ceiling = bytes
      ? (ceilings?.read_bytes_per_s ?? kernels.copyRate)
      : (ceilings?.mma_flops ?? kernels.productRate);
    const beside = peers.map((by) => {
      const peer = torch.results.find((r) => r.by === by && r.kernel === kernel && r.what === what);
      return peer ? digits(peer.us / us) : '';
    });
    const shown = bytes ? `${digits(rate / 1e9)} GB/s` : `${digits(rate / 1e12)} TFLOP/s`;
    return [kernel, what, digits(us), shown, percent(rate, ceiling), ...beside];
  });
  return markdownTable(header, rows);
}

const real = facts.gpu
  ? `${facts.gpu} (${facts.gpus}), ${facts.gpu_memory}, driver ${facts.driver}`
  : 'no CUDA device';
const gpu = facts.emulated ? 'the emulated device: figures of time mean nothing' : real;
const parts = [
  '# GPU run',
  [
    `- ${gpu}, CUDA toolkit ${facts.toolkit || 'none'}`,
    `- ${facts.cpu}, ${facts.cores} cores, ${facts.system}, Node.js ${facts.node}, ${facts.compiler}`,
    `- komt ${facts.commit}, ${facts.date}, ${seconds} s`,
    ...(ceilings
      ? [
          `- measured here: reads ${digits(ceilings.read_bytes_per_s / 1e9)} GB/s, ` +
            `mma.sync ${digits(ceilings.mma_flops / 1e12)} TFLOP/s`,
        ]
      : []),
    ...(torch ? [`- torch ${torch.version}`] : []),
  ].join('\n'),
  '## Stages',
  markdownTable(
    ['stage', 'status', 's', 'last words'],
    stages.map(({ stage, status, seconds: s, note }) => [
      stage,
      status,
      s,
      note.replaceAll('|', '/'),
    ]),
  ),
];
if (models.length > 0) {
  parts.push(
    '## Models',
    modelTable(),
    'Random float16 weights (views of one storage), batch 1, greedy. A token reads all weights but the embedding, and the cache. ' +
      'The host share is what a step takes beyond the same kernels replayed as a graph.',
  );
}
if (kernels) parts.push('## Kernels', kernelTable());
if (launch.length > 0) {
  const names = Object.keys(launch[0].steps);
  parts.push(
    '## Launch settings',
    markdownTable(
      ['setting', ...names.flatMap((name) => [`${name}: a layer, us`, `${name}: a step, us`])],
      launch.map(({ what, steps }) => [
        what,
        ...names.flatMap((name) => [digits(steps[name].layer_us), digits(steps[name].step_us)]),
      ]),
    ),
  );
}
if (logits) {
  parts.push(
    `## Logits beside ${logits.version}`,
    markdownTable(
      ['type', 'komt: rms error', 'largest', 'transformers: rms error', 'largest', 'tokens alike'],
      logits.results.map(({ dtype, komt, transformers, agreed, of }) => [
        dtype,
        komt.rms.toExponential(2),
        komt.largest.toExponential(2),
        transformers.rms.toExponential(2),
        transformers.largest.toExponential(2),
        `${agreed} of ${of}`,
      ]),
    ),
    `Errors against transformers in float32; logits have a deviation of ${digits(logits.deviation)}.`,
  );
}
if (profiled.length > 0) {
  parts.push(
    '## Hardware counters',
    markdownTable(
      ['kernel', 'us', 'DRAM, % of peak', 'SM, % of peak', 'occupancy, %', 'registers'],
      profiled.map((p) => [
        p.kernel,
        digits(p.us),
        p.dram_percent,
        p.sm_percent,
        p.occupancy_percent,
        p.registers,
      ]),
    ),
  );
}

function printBrief() {
  for (const { shape, komt, host_share, copy_bytes_per_s } of models) {
    if (!komt) continue;
    const first = Object.entries(komt.time_to_first_token_s)
      .map(([length, s]) => `${length}: ${digits(1e3 * s)} ms`)
      .join(', ');
    const ceiling = ceilings?.read_bytes_per_s ?? copy_bytes_per_s;
    console.log(
      `${shape}: ${digits(komt.decode_tokens_per_s)} tokens/s, ` +
        `${percent(komt.decode_bytes_per_s, ceiling)} of the ${ceilings ? 'read' : 'copy'} bandwidth, ` +
        `host ${percent(host_share, 1)}; first token after ${first}`,
    );
  }
  const count = (status) => stages.filter((stage) => stage.status === status).length;
  console.log(
    `${count('ok')} stages ok, ${count('skipped')} skipped, ` +
      `${count('failed') + count('timeout')} failed`,
  );
}

if (target === '--brief') {
  printBrief();
} else {
  const result = {
    facts,
    seconds: Number(seconds),
    stages,
    ceilings,
    models,
    kernels,
    launch,
    logits,
    profiled,
    torch,
  };
  writeFileSync(path.join(folder, 'gpu.json'), `${JSON.stringify(result, null, 1)}\n`);
  writeFileSync(target, `${parts.join('\n\n')}\n`);
}
