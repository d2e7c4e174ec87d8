/**
 * Writes a GGUF (version 3) from a safetensors file that make-checkpoint.mjs wrote, the same weights
 * bit for bit, for engines that read nothing else. Rows of q and k are permuted as llama.cpp's
 * converter does, because its rotary embedding pairs neighbours and Hugging Face's pairs halves.
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { FORMATS } from './random-weights.mjs';
import { elements } from './shapes.mjs';

const ALIGNMENT = 32;
const TYPE = { uint32: 4, int32: 5, float32: 6, string: 8, array: 9 };
const TENSOR_TYPE = { float32: 0, float16: 1, bfloat16: 30 };
const FILE_TYPE = { float32: 0, float16: 1, bfloat16: 32 };

const u32 = (value) => {
  const b = Buffer.alloc(4);
  b.writeUInt32LE(value);
  return b;
};
const u64 = (value) => {
  const b = Buffer.alloc(8);
  b.writeBigUInt64LE(BigInt(value));
  return b;
};
const f32 = (value) => {
  const b = Buffer.alloc(4);
  b.writeFloatLE(value);
  return b;
};
const str = (text) => {
  const bytes = Buffer.from(text);
  return Buffer.concat([u64(bytes.length), bytes]);
};
const scalar = { [TYPE.uint32]: u32, [TYPE.int32]: u32, [TYPE.float32]: f32, [TYPE.string]: str };
const entry = (key, type, value) => Buffer.concat([str(key), u32(type), scalar[type](value)]);
const array = (key, type, values) =>
  Buffer.concat([
    str(key),
    u32(TYPE.array),
    u32(type),
    u64(values.length),
    ...values.map((value) => scalar[type](value)),
  ]);

const PLAIN_NAMES = {
  'model.embed_tokens.weight': 'token_embd.weight',
  'model.norm.weight': 'output_norm.weight',
  'lm_head.weight': 'output.weight',
};
const LAYER_NAMES = {
  input_layernorm: 'attn_norm',
  post_attention_layernorm: 'ffn_norm',
  'self_attn.q_proj': 'attn_q',
  'self_attn.k_proj': 'attn_k',
  'self_attn.v_proj': 'attn_v',
  'self_attn.o_proj': 'attn_output',
  'mlp.gate_proj': 'ffn_gate',
  'mlp.up_proj': 'ffn_up',
  'mlp.down_proj': 'ffn_down',
};

function ggufName(name) {
  const match = /^model\.layers\.(\d+)\.(.+)\.weight$/.exec(name);
  return match ? `blk.${match[1]}.${LAYER_NAMES[match[2]]}.weight` : PLAIN_NAMES[name];
}

/** Half-split rows (HF) to interleaved rows (GGUF), head by head; `row` is bytes a row. */
function interleaveRows(bytes, row, heads) {
  const out = Buffer.alloc(bytes.length);
  const headRows = bytes.length / row / heads;
  const half = headRows / 2;
  for (let h = 0; h < heads; h++) {
    for (let i = 0; i < headRows; i++) {
      const from = h * headRows + (i % 2) * half + (i >> 1);
      bytes.copy(out, (h * headRows + i) * row, from * row, (from + 1) * row);
    }
  }
  return out;
}

/** A norm's weights as float32, which GGUF wants; they are all 1. */
const ones = (count) => Buffer.from(new Float32Array(count).fill(1).buffer);

/**
 * @param {string} source model.safetensors
 * @param {{ name: string, dims: number[], begin: number }[]} tensors as in `source`; `begin` is a
 *   position in the file
 */
export function writeGguf(file, { source, tensors, shape, dtype, vocabulary }) {
  const llama = (key, type, value) => entry(`llama.${key}`, type, value);
  const metadata = [
    entry('general.architecture', TYPE.string, 'llama'),
    entry('general.file_type', TYPE.uint32, FILE_TYPE[dtype]),
    llama('context_length', TYPE.uint32, shape.max_position_embeddings),
    llama('embedding_length', TYPE.uint32, shape.hidden_size),
    llama('block_count', TYPE.uint32, shape.num_hidden_layers),
    llama('feed_forward_length', TYPE.uint32, shape.intermediate_size),
    llama('attention.head_count', TYPE.uint32, shape.num_attention_heads),
    llama('attention.head_count_kv', TYPE.uint32, shape.num_key_value_heads),
    llama('attention.layer_norm_rms_epsilon', TYPE.float32, 1e-5),
    llama('rope.dimension_count', TYPE.uint32, shape.hidden_size / shape.num_attention_heads),
    llama('rope.freq_base', TYPE.float32, 10000),
    llama('vocab_size', TYPE.uint32, shape.vocab_size),
    entry('tokenizer.ggml.model', TYPE.string, 'llama'),
    array(
      'tokenizer.ggml.tokens',
      TYPE.string,
      vocabulary.map(({ text }) => text),
    ),
    array(
      'tokenizer.ggml.scores',
      TYPE.float32,
      vocabulary.map((_, id) => -id),
    ),
    array(
      'tokenizer.ggml.token_type',
      TYPE.int32,
      vocabulary.map(({ kind }) => kind),
    ),
    entry('tokenizer.ggml.bos_token_id', TYPE.uint32, 1),
    entry('tokenizer.ggml.eos_token_id', TYPE.uint32, 2),
  ];
  const { bytes: width } = FORMATS[dtype];
  let end = 0;
  const placed = tensors.map(({ name, dims, begin }) => {
    const isNorm = dims.length === 1;
    const offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    const length = elements(dims) * (isNorm ? 4 : width);
    end = offset + length;
    return { name, dims, begin, offset, length, isNorm };
  });
  const infos = placed.map(({ name, dims, offset, isNorm }) =>
    Buffer.concat([
      str(ggufName(name)),
      u32(dims.length),
      ...dims.toReversed().map(u64),
      u32(TENSOR_TYPE[isNorm ? 'float32' : dtype]),
      u64(offset),
    ]),
  );
  const head = Buffer.concat([
    Buffer.from('GGUF'),
    u32(3),
    u64(placed.length),
    u64(metadata.length),
    ...metadata,
    ...infos,
  ]);
  const data = Math.ceil(head.length / ALIGNMENT) * ALIGNMENT;

  const input = openSync(source, 'r');
  const output = openSync(file, 'w');
  try {
    writeSync(output, head, 0, head.length, 0);
    for (const { name, dims, begin, offset, length, isNorm } of placed) {
      let bytes;
      if (isNorm) bytes = ones(dims[0]);
      else {
        bytes = Buffer.allocUnsafe(length);
        readSync(input, bytes, 0, length, begin);
        const heads = name.includes('q_proj')
          ? shape.num_attention_heads
          : name.includes('k_proj')
            ? shape.num_key_value_heads
            : 0;
        if (heads) bytes = interleaveRows(bytes, dims[1] * width, heads);
      }
      writeSync(output, bytes, 0, bytes.length, data + offset);
    }
  } finally {
    closeSync(input);
    closeSync(output);
  }
}
