/**
 * What the settings of launches are worth: the kernels of one layer of a decode step, replayed as a graph,
 * with dependent launch on and off and under several shared-memory carve-outs.
 *
 *   node bench/gpu/launch.mjs [--device cuda] [--json FILE] [--tiny]
 *
 * A process has one setting (cuda/common/launch.cuh), so each is measured in one of its own; the first is
 * measured again at the end, to show what differs by itself.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { device } from '../../dist/kernels.js';
import { SHAPES } from '../support/shapes.mjs';
import { deviceStep } from './step.mjs';

const { values: options } = parseArgs({
  options: {
    device: { type: 'string', default: 'cuda' },
    json: { type: 'string' },
    tiny: { type: 'boolean', default: false },
    // Measures under this process's environment and prints JSON.
    child: { type: 'boolean', default: false },
  },
});

const MODELS = options.tiny ? ['tiny'] : ['7b', '13b'];
const CONTEXT = options.tiny ? 100 : 1024;

const SETTINGS = [
  { what: 'as the engine launches', env: {} },
  { what: 'dependent launch off', env: { KOMT_DEPENDENT_LAUNCH: '0' } },
  { what: 'carve-out left to the driver', env: { KOMT_SHARED_CARVEOUT: '-1' } },
  {
    what: 'both',
    env: { KOMT_DEPENDENT_LAUNCH: '0', KOMT_SHARED_CARVEOUT: '-1' },
  },
  { what: 'as the engine launches, again', env: {} },
];

function child() {
  const gpu = device(options.device);
  try {
    const timing = options.tiny ? { launches: 1, repeats: 3 } : undefined;
    const steps = Object.fromEntries(
      MODELS.map((name) => [name, deviceStep(gpu, SHAPES[name], CONTEXT, timing)]),
    );
    console.log(JSON.stringify(steps));
  } finally {
    gpu.dispose();
  }
}

function main() {
  const results = [];
  for (const { what, env } of SETTINGS) {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [fileURLToPath(import.meta.url), '--child', ...process.argv.slice(2)],
      { encoding: 'utf8', env: { ...process.env, ...env } },
    );
    if (status !== 0) {
      process.stderr.write(stderr);
      throw new Error(`${what}: exit status ${status}`);
    }
    const steps = JSON.parse(stdout.trimEnd().split('\n').at(-1));
    results.push({ what, steps });
    if (options.json) writeFileSync(options.json, `${JSON.stringify({ results }, null, 1)}\n`);
    const figures = MODELS.map((name) => `${name} ${steps[name].layer_us.toFixed(1)} us a layer`);
    console.log(`${what.padEnd(30)} ${figures.join(', ')}`);
  }
}

if (options.child) child();
else main();
