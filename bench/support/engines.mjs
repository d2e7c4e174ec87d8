/** The engines that decode.mjs knows, how each is started, and whether it is here. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { ROOT } from './machine.mjs';

const python = () => process.env.KOMT_BENCH_PYTHON ?? 'python3';
const script = (name) => path.join(ROOT, 'bench/engines', name);

function transformersMissing() {
  const probe = spawnSync(python(), ['-c', 'import torch, transformers'], { encoding: 'utf8' });
  if (probe.status === 0) return null;
  return `${python()} has no torch and transformers; KOMT_BENCH_PYTHON names a Python that has`;
}

function nodeLlamaCppMissing() {
  const folder = process.env.KOMT_BENCH_NODE_LLAMA_CPP;
  if (folder && existsSync(path.join(folder, 'node_modules/node-llama-cpp'))) return null;
  return 'KOMT_BENCH_NODE_LLAMA_CPP does not name a folder where node-llama-cpp is installed';
}

const transformers = (dtype) => ({
  label: `transformers, ${dtype}`,
  dtype,
  command: () => [python(), script('hf_transformers.py')],
  missing: transformersMissing,
});
const komt = (dtype) => ({
  label: `komt, ${dtype}`,
  dtype,
  command: () => [process.execPath, script('komt.mjs')],
  missing: () => null,
});

export const ENGINES = {
  komt: komt('float16'),
  'komt-bf16': komt('bfloat16'),
  'komt-f32': komt('float32'),
  'transformers-f16': transformers('float16'),
  'transformers-bf16': transformers('bfloat16'),
  'transformers-f32': transformers('float32'),
  'node-llama-cpp': {
    label: 'node-llama-cpp, GGUF float16',
    dtype: 'float16',
    command: () => [process.execPath, script('node-llama-cpp.mjs')],
    missing: nodeLlamaCppMissing,
  },
};

/** Engines compared with nothing here, and why. */
export const LEFT_OUT = {
  'transformers.js': 'runs ONNX files only, and no ONNX export of these checkpoints exists',
};

/** Runs one engine in a process of its own; gives what it prints (engines/protocol.mjs). */
export function runEngine(name, spec) {
  const { command, dtype } = ENGINES[name];
  const [program, ...args] = command();
  const threads = String(spec.threads);
  const child = spawn(program, [...args, JSON.stringify({ ...spec, dtype })], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, OMP_NUM_THREADS: threads, KOMT_NUM_THREADS: threads },
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) resolve(JSON.parse(output.trimEnd().split('\n').at(-1)));
      else reject(new Error(`${name} ended with ${signal ?? `exit code ${code}`}`));
    });
  });
}
