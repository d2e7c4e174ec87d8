/**
 * Whole models on a GPU, with random weights made on the spot:
 *
 *   node bench/gpu/models.mjs --json FILE [--device cuda] [--shapes 7b,13b] [--seconds 170] [--folder DIR]
 *
 * The checkpoint's tensors are views of one storage, so that 26 GB of weights are a file of some hundred
 * MB. transformers runs on the same files right after, where python3 has it.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
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

/** As bench/gpu/transformers_gpu.py has them. */
const ids = (length, vocab) => Array.from({ length }, (_, i) => 259 + ((i * 7919) % (vocab - 259)));
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
  const bytes = 2 * parameterCount(shape);
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
      await model.generate({
        input_ids: [ids(length, shape.vocab_size)],
        ...greedy,
        max_new_tokens,
        streamer,
      });
      return { first: (times[0] - started) / 1000, rest: (times.at(-1) - times[0]) / 1000 };
    };
    await answer(Math.min(64, ...prompts), 4);
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
  const count = gpu.name.startsWith('cuda-emulated') ? 1 << 16 : 1 << 28;
  const source = DeviceTensor.zeros(gpu, 'float32', [count]);
  const target = new DeviceTensor(gpu, 'float32', [count]);
  const us = gpu.measure(() => target.copyFrom(source));
  source.dispose();
  target.dispose();
  return ((8 * count) / us) * 1e6;
}

function measureTransformers(folder, shape) {
  const script = path.join(ROOT, 'bench/gpu/transformers_gpu.py');
  const spec = {
    checkpoint: folder,
    device: options.device === 'cuda' ? 'cuda' : 'cpu',
    vocab: shape.vocab_size,
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

/** komt's figures; the checkpoint stays for transformers. */
async function measureShape(name) {
  const shape = { ...SHAPES[name] };
  if (options.layers) shape.num_hidden_layers = Number(options.layers);
  const folder = path.join(options.folder, name);
  const make_s = await seconds(async () => makeCheckpoint(folder, { shape, views: true }));
  console.log(`${name}: ${shape.num_hidden_layers} layers, made in ${make_s.toFixed(1)} s`);
  const komt = await measureKomt(folder, shape);
  console.log(`${name}: ${komt.decode_tokens_per_s.toFixed(1)} tokens/s`, komt);
  const result = { shape: name, layers: shape.num_hidden_layers, make_s, komt };
  if (options.device.startsWith('cuda')) {
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
  return result;
}

const results = [];

/** What is measured is kept, should the time run out. */
function save() {
  if (options.json) writeFileSync(options.json, `${JSON.stringify({ results }, null, 1)}\n`);
}

mkdirSync(options.folder, { recursive: true });
try {
  for (const name of options.shapes.split(',')) {
    try {
      results.push(await measureShape(name));
    } catch (error) {
      console.error(`${name}: ${error.stack}`);
      results.push({ shape: name, failed: error.message });
      process.exitCode = 1;
    }
    save();
  }
  for (const result of results.filter(({ failed }) => failed === undefined)) {
    const shape = SHAPES[result.shape];
    result.transformers = measureTransformers(path.join(options.folder, result.shape), shape);
    console.log(`${result.shape}: transformers`, result.transformers);
    save();
  }
} finally {
  rmSync(options.folder, { recursive: true, force: true });
}
console.log(
  results
    .map(({ shape, komt }) => `${shape} ${komt?.decode_tokens_per_s.toFixed(1) ?? 'failed'}`)
    .join(', '),
  'tokens/s',
);
