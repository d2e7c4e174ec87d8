/**
 * Copies figures from bench/results into README.md, between its two bench comments:
 *
 *   node bench/readme-table.mjs [--check]
 *
 * It takes the newest decode result of every model shape, and the newest of a GPU. With --check it changes nothing and fails when
 * README.md says otherwise.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const RESULTS = path.join(ROOT, 'bench/results');
const README = path.join(ROOT, 'README.md');
const BLOCK = /(<!-- bench:start -->\n)([\s\S]*?)(<!-- bench:end -->)/;

/** The newest decode result of each shape, smallest first; file names begin with the date. */
function newestResults() {
  const newest = new Map();
  for (const name of readdirSync(RESULTS).sort()) {
    const shape = /^\d{4}-\d{2}-\d{2}-.*-decode-([^-]+)\.json$/.exec(name)?.[1];
    if (shape) newest.set(shape, name);
  }
  if (newest.size === 0) throw new Error(`There is no *-decode-*.json in ${RESULTS}`);
  return [...newest.values()]
    .map((name) => ({ name, ...JSON.parse(readFileSync(path.join(RESULTS, name), 'utf8')) }))
    .sort((a, b) => a.model.parameters - b.model.parameters);
}

/** The newest result of tools/gpu-run.sh, or null. */
function newestGpuResult() {
  const names = readdirSync(RESULTS).filter((name) => name.endsWith('-gpu.json'));
  const name = names.sort().at(-1);
  return name === undefined
    ? null
    : { name, ...JSON.parse(readFileSync(path.join(RESULTS, name), 'utf8')) };
}

function gpuBlock({ name, facts, models, torch }) {
  const lengths = Object.keys(models[0].komt.time_to_first_token_s);
  const cells = ({ shape, komt, transformers: peer }) => {
    const first = lengths.map((length) => {
      const [ours, theirs] = [komt, peer].map((of) => of.time_to_first_token_s[length]);
      return `${rounded(1000 * ours)} (${(theirs / ours).toFixed(2)}x)`;
    });
    const faster = (komt.decode_tokens_per_s / peer.decode_tokens_per_s).toFixed(2);
    return [
      `Llama 2 ${shape.toUpperCase()}`,
      ...first,
      `${rounded(komt.decode_tokens_per_s)} (${faster}x)`,
    ];
  };
  const rows = models.map((model) => `| ${cells(model).join(' | ')} |`);
  const file = `bench/results/${name.replace(/json$/, 'md')}`;
  return `| on one ${facts.gpu.replace(/^NVIDIA /, '')}, float16 | ${lengths
    .map((length) => `first token after ${length}, ms`)
    .join(' | ')} | decode, tokens/s |
| --- | ${lengths.map(() => '---:').join(' | ')} | ---: |
${rows.join('\n')}

GPU: ${facts.gpu}, driver ${facts.driver}, CUDA ${facts.toolkit}, ${facts.date.slice(0, 10)}. Batch 1, greedy; in brackets how much faster
than ${models[0].transformers.version.replace(/, torch.*/, '')} with PyTorch ${torch.version} on the same files. Kernels beside cuBLAS, and all else: [results](${file}).

`;
}

const rounded = (value) => (value >= 10 ? value.toFixed(0) : value.toFixed(1));
const times = ({ median }) => `${median.toFixed(2)}x`;

function row({ label, prefill, decode, peak_rss_bytes, ratio }) {
  const cells = [
    label,
    rounded(prefill.median),
    ratio ? times(ratio.prefill) : '',
    rounded(decode.median),
    ratio ? times(ratio.decode) : '',
    `${(peak_rss_bytes.median / 1e9).toFixed(1)} GB`,
  ];
  return `| ${cells.join(' | ')} |`;
}

function table({ model }) {
  const size = model.parameters / 1e9;
  return [
    `| ${size.toFixed(1)} G parameters | prefill, tokens/s | komt / it | decode, tokens/s | komt / it | peak memory |`,
    '| --- | ---: | ---: | ---: | ---: | ---: |',
    ...model.engines.map(row),
  ].join('\n');
}

/** What stands between the comments. */
function readmeBlock(results) {
  const versions = Object.assign({}, ...results.map((result) => result.versions));
  const peers = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const [{ machine, settings }] = results;
  const sources = results.map(({ name, model }) => {
    const file = `bench/results/${name.replace(/json$/, 'md')}`;
    return `[${(model.parameters / 1e9).toFixed(1)} G](${file})`;
  });
  const gpu = newestGpuResult();
  return `${gpu === null ? '' : gpuBlock(gpu)}${results.map(table).join('\n\n')}

CPU: ${machine.cpu}, ${settings.threads} threads; ${peers.join('; ')}. A prompt of ${settings.prompt} tokens and
${settings.new_tokens} new ones, greedy, komt and the peer in turn, medians. All figures: ${sources.join(', ')};
[docs/benchmarks.md](docs/benchmarks.md) says how to read and repeat them.
`;
}

function main() {
  const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
  const block = readmeBlock(newestResults());
  const readme = readFileSync(README, 'utf8');
  const match = BLOCK.exec(readme);
  if (!match) throw new Error(`${README} lacks <!-- bench:start --> and <!-- bench:end -->`);
  if (match[2] === block) return;
  if (values.check) {
    console.error(`README.md says\n${match[2]}\nbut the result says\n${block}`);
    process.exitCode = 1;
  } else {
    writeFileSync(
      README,
      readme.replace(BLOCK, (_, start, __, end) => `${start}${block}${end}`),
    );
  }
}

main();
