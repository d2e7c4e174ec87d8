import { KomtError } from '../../../lib/errors.js';
import * as kernels from '../../../lib/kernels/index.js';
import {
  build,
  type Call,
  isArgumentsOwn,
  mutateProgram,
  type Recipe,
  type Surface,
  settle,
  validPrograms,
} from '../api.js';
import type { FuzzTarget } from '../target.js';

/** Arguments that would be valid on a GPU, of which fuzzing machines have none. */
const VALUES: Surface['values'] = {
  name: () => 'cuda:0',
  emulated: () => 'cuda-emulated:0',
  device: () => ({ name: 'cuda:0', handle: {}, kernels: {}, disposed: false }),
  tensor: () => ({ dtype: 'float16', dims: [2, 8], size: 16 }),
  cache: () => ({ dtype: 'float16', pages: 2, num_key_value_heads: 2, head_dim: 8 }),
  dtype: () => 'float16',
  dims: () => [2, 8],
  values: () => new Float32Array(16),
  cacheOptions: () => ({ pages: 2, num_key_value_heads: 2, head_dim: 8, dtype: 'float16' }),
  attentionOptions: () => ({ max_new_tokens: 1, max_kv_length: 1 }),
  ropeOptions: () => ({ num_attention_heads: 2 }),
  gemmOptions: () => ({ epilogue: 'store', norm: {}, rope: {}, batchInvariant: true }),
  normOptions: () => ({ eps: 1e-6, dtype: 'float16' }),
  sampleOptions: () => ({ do_sample: true, temperature: 0.5, top_k: 5, seed: 1n }),
  message: () => 'message',
  details: () => ({ subject: 'x', bytesNeeded: 1 }),
};

const ARGS: Readonly<Record<string, readonly string[]>> = {
  DeviceTensor: ['device', 'dtype', 'dims'],
  'DeviceTensor.fromArray': ['device', 'values', 'dims', 'dtype'],
  'DeviceTensor.zeros': ['device', 'dtype', 'dims'],
  KvCache: ['device', 'cacheOptions'],
  attention: ['tensor', 'cache', 'attentionOptions'],
  device: ['name'],
  gemm: ['tensor', 'tensor', 'gemmOptions'],
  rms_norm: ['tensor', 'tensor', 'normOptions'],
  rope: ['tensor', 'ropeOptions'],
  sample: ['tensor', 'sampleOptions'],
};

type Callable = (...args: unknown[]) => unknown;

function recipes(): Record<string, Recipe> {
  const out: Record<string, Recipe> = {};
  for (const [name, value] of Object.entries(kernels) as [string, unknown][]) {
    if (typeof value !== 'function') continue;
    const isError = value === KomtError || value.prototype instanceof KomtError;
    const args = ARGS[name] ?? (isError ? ['message', 'details'] : undefined);
    if (args === undefined)
      throw new Error(`No recipe for export ${name}: add its arguments to ARGS`);
    const isClass = /^class\b/.test(Function.prototype.toString.call(value));
    const run = (given: unknown[]) =>
      isClass ? Reflect.construct(value, given) : (value as Callable)(...given);
    out[name] = { args, run };
    for (const method of Object.getOwnPropertyNames(value)) {
      const call = (value as unknown as Record<string, unknown>)[method];
      if (!isClass || isError || typeof call !== 'function' || method === 'prototype') continue;
      const full = `${name}.${method}`;
      if (ARGS[full] === undefined)
        throw new Error(`No recipe for ${full}: add its arguments to ARGS`);
      out[full] = { args: ARGS[full], run: (given) => call.apply(value, given) };
    }
  }
  return out;
}

const surface: Surface = { recipes: recipes(), values: VALUES };
const FIELDS = ['output', 'bias', 'epilogue', 'eps', 'pages', 'head_dim', 'top_k', 'seed', 'cache'];

export const target: FuzzTarget = {
  name: 'api-kernels',
  sources: ['lib/kernels/checks.ts', 'lib/kernels/device-tensor.ts', 'lib/kernels/kv-cache.ts'],
  // Without a GPU nothing behind the arguments' types is reached.
  minimumCoverage: 35,
  seeds: () => validPrograms(surface),
  mutate: (input, random) => mutateProgram(input, random, surface, FIELDS),
  run: async (input) => {
    for (const { call, args } of JSON.parse(Buffer.from(input).toString()) as Call[]) {
      const recipe = surface.recipes[call];
      if (recipe === undefined) continue;
      try {
        await settle(recipe.run(args.map((arg) => build(arg, surface))), () => {});
      } catch (error) {
        if (!isArgumentsOwn(error)) throw error;
      }
    }
  },
  planted: {
    file: 'lib/kernels/device-tensor.ts',
    find: "if (!(device instanceof Device)) throw invalidArgument('device', 'a Device', device);",
    replace: '',
  },
};
