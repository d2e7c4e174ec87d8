/**
 * Copies figures from bench/results into README.md, between its two bench comments:
 *
 *   node bench/readme-table.mjs [--check] [result.json]
 *
 * Without a file it takes the newest decode result. With --check it changes nothing and fails when
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

/** The newest decode result by its name, which begins with the date. */
function newestResult() {
  const file = readdirSync(RESULTS)
    .filter((name) => /^\d{4}-\d{2}-\d{2}-.*-decode\.json$/.test(name))
    .sort()
    .at(-1);
  if (!file) throw new Error(`There is no *-decode.json in ${RESULTS}`);
  return path.join(RESULTS, file);
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

/** What stands between the comments for one result file. */
function readmeBlock(file) {
  const { machine, settings, versions, shapes } = JSON.parse(readFileSync(file, 'utf8'));
  const peers = Object.entries(versions).map(([name, version]) => `${name} ${version}`);
  const tables = shapes.map(({ parameters, engines }) =>
    [
      `| ${(parameters / 1e9).toFixed(1)} G parameters | prefill, tokens/s | komt is | decode, tokens/s | komt is | peak memory |`,
      '| --- | ---: | ---: | ---: | ---: | ---: |',
      ...engines.map(row),
    ].join('\n'),
  );
  const source = path.relative(ROOT, file).split(path.sep).join('/');
  return `${tables.join('\n\n')}

On the CPU (${machine.cpu}, ${settings.threads} threads; ${peers.join('; ')}): a prompt of
${settings.prompt} tokens and ${settings.new_tokens} new ones, greedy, each engine beside komt in turn, medians. All figures:
[${path.basename(source, '.json')}](${source.replace(/json$/, 'md')}); [docs/benchmarks.md](docs/benchmarks.md) says how to read and repeat them.
`;
}

function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { check: { type: 'boolean', default: false } },
  });
  const block = readmeBlock(positionals[0] ? path.resolve(positionals[0]) : newestResult());
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
