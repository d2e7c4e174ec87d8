/**
 * Writes a Llama with random weights (normally distributed, seeded) as a Hugging Face folder:
 *
 *   node bench/make-checkpoint.mjs OUT --shape 1.1b [--dtype float16] [--layers N] [--gguf]
 *   node bench/make-checkpoint.mjs OUT --hidden_size 512 --intermediate_size 1376 ...
 *
 * Streams to disk; memory stays below the largest single matrix (GGUF) or some megabytes.
 */
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { writeGguf } from './support/gguf.mjs';
import { FORMATS, NormalWeights } from './support/random-weights.mjs';
import { elements, parameterCount, SHAPES, tensorsOf } from './support/shapes.mjs';
import { writeTorchViews } from './support/torch-bin.mjs';
import { makeVocabulary, tokenizerConfig, tokenizerJson } from './support/vocabulary.mjs';

/** Deviation that Hugging Face initialises Llamas with. */
const INITIALIZER_RANGE = 0.02;
const CHUNK = 1 << 20;
const RECIPE = 'recipe.json';

function layOut(shape, dtype) {
  const { bytes, name: format } = FORMATS[dtype];
  const header = {};
  let end = 0;
  const tensors = tensorsOf(shape).map(([name, dims]) => {
    const begin = end;
    end += elements(dims) * bytes;
    header[name] = { dtype: format, shape: dims, data_offsets: [begin, end] };
    return { name, dims, begin };
  });
  const json = Buffer.from(JSON.stringify(header));
  const head = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  head.writeBigUInt64LE(BigInt(head.length - 8));
  json.copy(head, 8);
  for (const tensor of tensors) tensor.begin += head.length;
  return { head, tensors };
}

function writeSafetensors(file, { shape, dtype, seed }) {
  const { TypedArray, encode } = FORMATS[dtype];
  const { head, tensors } = layOut(shape, dtype);
  const weights = new NormalWeights(dtype, INITIALIZER_RANGE, seed);
  const chunk = new TypedArray(CHUNK);
  const output = openSync(file, 'w');
  try {
    writeSync(output, head);
    for (const { dims } of tensors) {
      let left = elements(dims);
      while (left > 0) {
        const part = chunk.subarray(0, Math.min(left, CHUNK));
        if (dims.length === 1) part.fill(encode(1));
        else weights.fill(part);
        writeSync(output, new Uint8Array(part.buffer, 0, part.byteLength));
        left -= part.length;
      }
    }
  } finally {
    closeSync(output);
  }
  return tensors;
}

function configOf(shape, dtype) {
  return {
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    ...shape,
    hidden_act: 'silu',
    initializer_range: INITIALIZER_RANGE,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    attention_bias: false,
    tie_word_embeddings: false,
    bos_token_id: 1,
    eos_token_id: 2,
    pad_token_id: 0,
    torch_dtype: dtype,
    use_cache: true,
  };
}

function readRecipe(folder) {
  try {
    return readFileSync(path.join(folder, RECIPE), 'utf8');
  } catch {
    return null;
  }
}

/**
 * Makes a checkpoint in `folder`, or leaves the one there when it was made from the same recipe.
 *
 * @param options.shape sizes under their names in config.json; see support/shapes.mjs
 * @param options.gguf also write model.gguf with the same weights
 * @param options.views pytorch_model.bin instead, whose tensors are views of one storage as large as the
 *   largest of them: for GPUs, where the disk would take longer than what is measured
 * @returns {{ folder: string, gguf: string | null, parameters: number }}
 */
export function makeCheckpoint(
  folder,
  { shape, dtype = 'float16', seed = 1, gguf = false, views = false },
) {
  if (!FORMATS[dtype]) {
    throw new Error(
      `Expected one of ${Object.keys(FORMATS).join(', ')} for dtype but received ${dtype}`,
    );
  }
  const ggufFile = path.join(folder, 'model.gguf');
  const made = { folder, gguf: gguf ? ggufFile : null, parameters: parameterCount(shape) };
  const recipe = JSON.stringify({ shape, dtype, seed, gguf, views });
  if (readRecipe(folder) === recipe) return made;

  mkdirSync(folder, { recursive: true });
  const json = (name, value) =>
    writeFileSync(path.join(folder, name), `${JSON.stringify(value, null, 1)}\n`);
  const vocabulary = makeVocabulary(shape.vocab_size);
  json('config.json', configOf(shape, dtype));
  json('generation_config.json', { bos_token_id: 1, eos_token_id: 2, pad_token_id: 0 });
  json('tokenizer.json', tokenizerJson(vocabulary));
  json('tokenizer_config.json', tokenizerConfig);
  if (views) {
    const file = path.join(folder, 'pytorch_model.bin');
    writeTorchViews(file, tensorsOf(shape), { dtype, deviation: INITIALIZER_RANGE, seed });
  } else {
    const source = path.join(folder, 'model.safetensors');
    const tensors = writeSafetensors(source, { shape, dtype, seed });
    if (gguf) writeGguf(ggufFile, { source, tensors, shape, dtype, vocabulary });
  }
  // Written last and moved into place: a folder with a recipe is whole.
  writeFileSync(path.join(folder, `${RECIPE}.part`), recipe);
  renameSync(path.join(folder, `${RECIPE}.part`), path.join(folder, RECIPE));
  return made;
}

function main() {
  const sizes = Object.keys(SHAPES['100m']);
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      shape: { type: 'string', default: '100m' },
      dtype: { type: 'string', default: 'float16' },
      seed: { type: 'string', default: '1' },
      layers: { type: 'string' },
      gguf: { type: 'boolean', default: false },
      ...Object.fromEntries(sizes.map((name) => [name, { type: 'string' }])),
    },
  });
  const [folder] = positionals;
  const base = SHAPES[values.shape];
  if (!folder || !base) {
    console.error(
      `usage: make-checkpoint.mjs OUT [--shape ${Object.keys(SHAPES).join('|')}] ` +
        `[--dtype ${Object.keys(FORMATS).join('|')}] [--layers N] [--seed N] [--gguf]\n` +
        `       any size by its own name: ${sizes.map((name) => `--${name} N`).join(' ')}`,
    );
    process.exitCode = 2;
    return;
  }
  const given = sizes.filter((name) => values[name]).map((name) => [name, Number(values[name])]);
  const shape = { ...base, ...Object.fromEntries(given) };
  if (values.layers) shape.num_hidden_layers = Number(values.layers);
  const started = performance.now();
  const { parameters } = makeCheckpoint(folder, {
    shape,
    dtype: values.dtype,
    seed: Number(values.seed),
    gguf: values.gguf,
  });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${folder}: ${(parameters / 1e6).toFixed(1)} M parameters, ${seconds} s`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
