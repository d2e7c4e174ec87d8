/**
 * Whole models on a GPU, with random weights made on the spot:
 *
 *   node bench/gpu/models.mjs --json FILE [--device cuda] [--shapes 7b,13b] [--seconds 170] [--folder DIR]
 *
 * Layers are left out where writing all of them would take more than their share of the time; figures
 * say how many there were. transformers runs on the same files right after, where python3 has it.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { DeviceTensor, device } from '../../dist/kernels.js';
import { makeCheckpoint } from '../make-checkpoint.mjs';
import { AutoModelForCausalLM } from '../support/komt.mjs';
import { ROOT } from '../support/machine.mjs';
import { parameterCount, SHAPES } from '../support/shapes.mjs';
import { median } from '../support/statistics.mjs';
import { deviceStep } from './step.mjs';

const { values: options } = parseArgs({
  options: {
    json: { type: 'string' },
    device: { type: 'string', default: 'cuda' },
    shapes: { type: 'string', default: '7b,13b' },
    seconds: { type: 'string', default: '170' },
    folder: { type: 'string', default: path.join(os.tmpdir(), 'komt-gpu-bench') },
    prompts: { type: 'string', default: '512,2048,4096' },
    'new-tokens': { type: 'string', default: '128' },
    layers: { type: 'string' },
  },
});
const prompts = options.prompts.split(',').map(Number);
const newTokens = Number(options['new-tokens']);
const deadline = performance.now() + 1000 * Number(options.seconds);
const secondsLeft = () => (deadline - performance.now()) / 1000;
const onGpu = options.device.startsWith('cuda');

const ids = (length) => Array.from({ length }, (_, i) => 300 + ((i * 7919) % 31000));
const greedy = { do_sample: false, eos_token_id: null };

async function seconds(action) {
  const started = performance.now();
  await action();
  return (performance.now() - started) / 1000;
}

async function medianOf(measure, repeats = 3) {
  const values = [];
  for (let i = 0; i < repeats; i++) values.push(await measure());
  return median(values);
}

/** Bytes a second that one thread writes weights with, seen on a small checkpoint. */
function writeRate() {
  const folder = path.join(options.folder, 'rate');
  const started = performance.now();
  makeCheckpoint(folder, { shape: SHAPES['100m'] });
  const rate = (2 * parameterCount(SHAPES['100m'])) / ((performance.now() - started) / 1000);
  rmSync(folder, { recursive: true });
  return rate;
}

/** The shape with as many layers as fit into a share of the time and the disk, at least two. */
function affordable(shape, rate, share) {
  const bytesFor = (layers) => 2 * parameterCount({ ...shape, num_hidden_layers: layers });
  const { bavail, bsize } = statfsSync(options.folder);
  const budget = Math.min(rate * share, 0.8 * bavail * bsize);
  let layers = shape.num_hidden_layers;
  while (layers > 2 && bytesFor(layers) > budget) layers--;
  return { ...shape, num_hidden_layers: Number(options.layers ?? layers) };
}

/** Bytes of weights that one token reads: everything but the embedding, of which it reads a row. */
function weightBytes(shape) {
  return 2 * (parameterCount(shape) - shape.vocab_size * shape.hidden_size + shape.hidden_size);
}

function cacheBytes(shape, context) {
  const { hidden_size, num_attention_heads, num_key_value_heads, num_hidden_layers } = shape;
  const width = (hidden_size / num_attention_heads) * num_key_value_heads;
  return 2 * 2 * width * num_hidden_layers * context;
}

async function measureKomt(folder, shape) {
  const bytes = statSync(path.join(folder, 'model.safetensors')).size;
  let model;
  const load_s = await seconds(async () => {
    model = await AutoModelForCausalLM.from_pretrained(folder, {
      device_map: options.device,
      dtype: 'float16',
    });
  });
  try {
    /** Seconds to the first token, and from it to the last. */
    const answer = async (length, max_new_tokens) => {
      const started = performance.now();
      const times = [];
      let isPrompt = true;
      const streamer = {
        put() {
          if (!isPrompt) times.push(performance.now());
          isPrompt = false;
        },
        end() {},
      };
      await model.generate({ input_ids: [ids(length)], ...greedy, max_new_tokens, streamer });
      return { first: (times[0] - started) / 1000, rest: (times.at(-1) - times[0]) / 1000 };
    };
    await answer(64, 4);
    const first = {};
    for (const length of prompts) {
      first[length] = await medianOf(async () => (await answer(length, 1)).first);
    }
    const shortest = Math.min(...prompts);
    const rest = await medianOf(async () => (await answer(shortest, newTokens + 1)).rest);
    const step_s = rest / newTokens;
    const context = shortest + newTokens / 2;
    return {
      load_s,
      load_bytes_per_s: bytes / load_s,
      time_to_first_token_s: first,
      decode_tokens_per_s: 1 / step_s,
      context,
      decode_bytes_per_s: (weightBytes(shape) + cacheBytes(shape, context)) / step_s,
      step_us: 1e6 * step_s,
    };
  } finally {
    await model.dispose();
  }
}

/** What the GPU was measured to copy, read and write together: the ceiling where no better is known. */
function copyRate(gpu) {
  const count = 1 << 28;
  const source = DeviceTensor.zeros(gpu, 'float32', [count]);
  const target = new DeviceTensor(gpu, 'float32', [count]);
  const us = gpu.measure(() => target.copyFrom(source));
  source.dispose();
  target.dispose();
  return ((8 * count) / us) * 1e6;
}

function measureTransformers(folder) {
  const script = path.join(ROOT, 'bench/gpu/transformers_gpu.py');
  const spec = {
    checkpoint: folder,
    device: onGpu ? 'cuda' : 'cpu',
    prompts,
    new_tokens: newTokens,
  };
  const program = process.env.KOMT_BENCH_PYTHON ?? 'python3';
  const probe = spawnSync(program, ['-c', 'import torch, transformers'], { encoding: 'utf8' });
  if (probe.status !== 0) return { skipped: `${program} has no torch and transformers` };
  const timeout = Math.round(1000 * Math.max(5, secondsLeft()));
  const { status, stdout, stderr } = spawnSync(program, [script, JSON.stringify(spec)], {
    encoding: 'utf8',
    timeout,
  });
  if (status === 0) return JSON.parse(stdout.trimEnd().split('\n').at(-1));
  return {
    failed: status === null ? 'out of time' : stderr.trimEnd().split('\n').slice(-3).join(' | '),
  };
}

async function measureShape(name, rate, share) {
  const shape = affordable(SHAPES[name], rate, share / 3);
  const folder = path.join(options.folder, name);
  const make_s = await seconds(async () => makeCheckpoint(folder, { shape }));
  const layers = `${shape.num_hidden_layers} of ${SHAPES[name].num_hidden_layers} layers`;
  console.log(`${name}: ${layers}, written in ${make_s.toFixed(1)} s`);
  try {
    const komt = await measureKomt(folder, shape);
    console.log(`${name}: ${komt.decode_tokens_per_s.toFixed(1)} tokens/s`, komt);
    const result = { shape: name, layers: shape.num_hidden_layers, make_s, komt };
    if (onGpu) {
      const gpu = device(options.device);
      try {
        result.copy_bytes_per_s = copyRate(gpu);
        result.device_step = deviceStep(gpu, shape, Math.round(komt.context));
        const own = result.device_step.step_us;
        result.host_share = Math.max(0, 1 - own / komt.step_us);
      } finally {
        gpu.dispose();
      }
    }
    result.transformers = measureTransformers(folder);
    console.log(`${name}: transformers`, result.transformers);
    return result;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function write(results) {
  if (options.json) writeFileSync(options.json, `${JSON.stringify({ results }, null, 1)}\n`);
}

mkdirSync(options.folder, { recursive: true });
const rate = writeRate();
const results = [];
const names = options.shapes.split(',');
for (const [i, name] of names.entries()) {
  try {
    results.push(await measureShape(name, rate, secondsLeft() / (names.length - i)));
  } catch (error) {
    console.error(`${name}: ${error.stack}`);
    results.push({ shape: name, failed: error.message });
    process.exitCode = 1;
  }
  // What is measured is kept, should the time run out.
  write(results);
}
console.log(
  results
    .map(({ shape, komt }) => `${shape} ${komt?.decode_tokens_per_s.toFixed(1) ?? 'failed'}`)
    .join(', '),
  'tokens/s',
);
