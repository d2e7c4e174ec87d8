import { requireTensor } from '../checkpoint/open.js';
import type { Checkpoint } from '../checkpoint/types.js';
import { CheckpointError, invalidArgument, UnsupportedModelError } from '../errors.js';
import {
  type ComputeDType,
  type NativeModelConfig,
  type NativeWeightSource,
  SLOTS,
  type SlotName,
} from '../native/addon.js';
import type { ModelType, PretrainedConfig } from './config.js';
import { ropeFrequencies } from './rope.js';

/**
 * How a family differs from the Llama graph: where its tensors are, and which of them it has. The
 * graph itself is written once, in native/engine/model.cpp.
 */
interface Architecture {
  /** Checkpoint names of what stands outside the layers. */
  outside: Partial<Record<SlotName, string>>;
  /** Checkpoint names inside a layer, after `model.layers.N.`. */
  layer: Partial<Record<SlotName, string>>;
  /** Biases that this config asks for. */
  biases(config: PretrainedConfig): SlotName[];
}

const ATTENTION_BIASES: SlotName[] = ['q_bias', 'k_bias', 'v_bias', 'o_bias'];
const MLP_BIASES: SlotName[] = ['gate_bias', 'up_bias', 'down_bias'];

const LLAMA: Architecture = {
  outside: {
    embed_tokens: 'model.embed_tokens.weight',
    final_norm: 'model.norm.weight',
    lm_head: 'lm_head.weight',
  },
  layer: {
    input_norm: 'input_layernorm.weight',
    post_attention_norm: 'post_attention_layernorm.weight',
    q: 'self_attn.q_proj.weight',
    k: 'self_attn.k_proj.weight',
    v: 'self_attn.v_proj.weight',
    o: 'self_attn.o_proj.weight',
    gate: 'mlp.gate_proj.weight',
    up: 'mlp.up_proj.weight',
    down: 'mlp.down_proj.weight',
    q_bias: 'self_attn.q_proj.bias',
    k_bias: 'self_attn.k_proj.bias',
    v_bias: 'self_attn.v_proj.bias',
    o_bias: 'self_attn.o_proj.bias',
    gate_bias: 'mlp.gate_proj.bias',
    up_bias: 'mlp.up_proj.bias',
    down_bias: 'mlp.down_proj.bias',
  },
  biases: (config) => [
    ...(config.attention_bias ? ATTENTION_BIASES : []),
    ...(config.mlp_bias ? MLP_BIASES : []),
  ],
};

const ARCHITECTURES: Record<ModelType, Architecture> = {
  llama: LLAMA,
  mistral: { ...LLAMA, biases: () => [] },
  // Qwen2 has biases on q, k and v whatever its config says, and none on o.
  qwen2: { ...LLAMA, biases: () => ['q_bias', 'k_bias', 'v_bias'] },
};

/** Stored types that can be converted on the way to a device. */
const LOADABLE = new Set(['float32', 'float16', 'bfloat16', 'float64']);

/** The shapes config.json gives each slot; what a checkpoint holds is compared with it before loading. */
export function expectedShape(config: PretrainedConfig, slot: SlotName): number[] {
  const { hidden_size: hidden, intermediate_size: inner, head_dim } = config;
  const q = config.num_attention_heads * head_dim;
  const kv = config.num_key_value_heads * head_dim;
  switch (slot) {
    case 'embed_tokens':
    case 'lm_head':
      return [config.vocab_size, hidden];
    case 'q':
      return [q, hidden];
    case 'k':
    case 'v':
      return [kv, hidden];
    case 'o':
      return [hidden, q];
    case 'gate':
    case 'up':
      return [inner, hidden];
    case 'down':
      return [hidden, inner];
    case 'q_bias':
      return [q];
    case 'k_bias':
    case 'v_bias':
      return [kv];
    case 'gate_bias':
    case 'up_bias':
      return [inner];
    default:
      return [hidden];
  }
}

interface Wanted {
  slot: SlotName;
  layer: number;
  name: string;
}

/** Every tensor the model needs, by checkpoint name. */
export function wantedTensors(config: PretrainedConfig): Wanted[] {
  const architecture = ARCHITECTURES[config.model_type];
  const biases = new Set(architecture.biases(config));
  const wanted: Wanted[] = [];
  for (const [slot, name] of Object.entries(architecture.outside) as [SlotName, string][]) {
    if (slot === 'lm_head' && config.tie_word_embeddings) continue;
    wanted.push({ slot, layer: 0, name });
  }
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    for (const [slot, name] of Object.entries(architecture.layer) as [SlotName, string][]) {
      if (slot.endsWith('_bias') && !biases.has(slot)) continue;
      wanted.push({ slot, layer, name: `model.layers.${layer}.${name}` });
    }
  }
  return wanted;
}

/**
 * Matches a checkpoint with the model its config.json describes.
 * @throws {CheckpointError} for a tensor that is missing, has another shape, or a type without a conversion
 */
export function weightSources(
  config: PretrainedConfig,
  checkpoint: Checkpoint,
): NativeWeightSource[] {
  return wantedTensors(config).map(({ slot, layer, name }) => {
    const stored = storedName(checkpoint, name, slot, config);
    const entry = requireTensor(checkpoint, stored, expectedShape(config, slot));
    if (!LOADABLE.has(entry.dtype)) {
      throw new CheckpointError(`Tensor ${name} has a type that cannot be loaded`, {
        file: entry.file,
        subject: name,
        expected: [...LOADABLE].join(', '),
        found: entry.dtype,
        remedy: 'Use the unquantized checkpoint of this model.',
      });
    }
    const { dtype, shape, strides, file, offset } = entry;
    return { slot: SLOTS.indexOf(slot), layer, name, dtype, shape, strides, file, offset };
  });
}

/** Some exports drop the `model.` prefix. */
function storedName(
  checkpoint: Checkpoint,
  name: string,
  slot: SlotName,
  config: PretrainedConfig,
): string {
  const { tensors } = checkpoint;
  for (const candidate of [name, name.replace(/^model\./, '')]) {
    if (tensors.has(candidate)) return candidate;
  }
  const layers = [...tensors.keys()].filter((key) => key.endsWith('input_layernorm.weight')).length;
  throw new CheckpointError(`Tensor ${name} is missing`, {
    file: checkpoint.files.length === 1 ? checkpoint.files[0] : undefined,
    subject: name,
    expected: `${wantedTensors(config).length} tensors for ${config.num_hidden_layers} layers`,
    found: `${tensors.size} tensors, ${layers} layers`,
    remedy:
      slot === 'lm_head'
        ? 'If the output shares the embedding, set "tie_word_embeddings": true in config.json.'
        : 'The checkpoint is incomplete, or belongs to another config.json.',
  });
}

/** dtype arguments as users write them, HF's and PyTorch's spellings included. */
const DTYPE_NAMES: ReadonlyMap<string, ComputeDType> = new Map([
  ['float32', 'float32'],
  ['fp32', 'float32'],
  ['float', 'float32'],
  ['float16', 'float16'],
  ['fp16', 'float16'],
  ['half', 'float16'],
  ['bfloat16', 'bfloat16'],
  ['bf16', 'bfloat16'],
]);

/**
 * @param name as PyTorch or transformers spells it, such as "torch.float16" or "bf16"
 * @returns undefined for an unknown name
 * @throws InvalidArgumentError for what is no string
 */
export function parseDType(name: string): ComputeDType | undefined {
  if (typeof name !== 'string') throw invalidArgument('name', 'the name of a dtype', name);
  return DTYPE_NAMES.get(name.replace(/^torch\./, ''));
}

/**
 * The type 'auto' stands for: what config.json says, else what is stored (the embedding's, as HF looks at
 * the first floating-point weight), but on CUDA, which computes in 16 bits only, float32 runs as float16.
 */
export function autoDType(
  checkpoint: Checkpoint,
  config: PretrainedConfig,
  cuda: boolean,
): ComputeDType {
  const stored = checkpoint.tensors.get('model.embed_tokens.weight')?.dtype ?? 'float32';
  const dtype = parseDType(config.dtype ?? stored) ?? parseDType(stored) ?? 'float32';
  return cuda && dtype === 'float32' ? 'float16' : dtype;
}

/** config.json as the engine takes it. */
export function nativeConfig(
  config: PretrainedConfig,
  dtype: ComputeDType,
  cache_tokens = 0,
): NativeModelConfig {
  if (config.head_dim % 8 !== 0) {
    throw new UnsupportedModelError('This head size cannot be run', {
      subject: 'head_dim',
      expected: 'a multiple of 8',
      found: config.head_dim,
    });
  }
  return {
    hidden_size: config.hidden_size,
    intermediate_size: config.intermediate_size,
    num_hidden_layers: config.num_hidden_layers,
    num_attention_heads: config.num_attention_heads,
    num_key_value_heads: config.num_key_value_heads,
    head_dim: config.head_dim,
    vocab_size: config.vocab_size,
    max_position_embeddings: config.max_position_embeddings,
    rms_norm_eps: config.rms_norm_eps,
    tie_word_embeddings: config.tie_word_embeddings,
    sliding_window: Int32Array.from(config.layer_types, (type) =>
      type === 'sliding_attention' ? (config.sliding_window ?? 0) : 0,
    ),
    rope: ropeFrequencies(config.rope, config.head_dim, config.max_position_embeddings),
    cache_tokens,
    dtype,
  };
}
