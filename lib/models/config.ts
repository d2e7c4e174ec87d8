import { join, resolve } from 'node:path';
import { isObject, type JsonObject, readBoundedJson } from '../bounded-json.js';
import { checkOptions } from '../check-options.js';
import { foreignFolder } from '../checkpoint/foreign-formats.js';
import { LIMITS } from '../checkpoint/types.js';
import { FileNotFoundError, invalidArgument, UnsupportedModelError } from '../errors.js';
import { type HubOptions, resolveModelDir } from '../hub/resolve.js';
import { MODEL_RULES } from '../pretrained-options.js';
import { ConfigReader } from './config-reader.js';
import { MAX_POSITIONS, type RopeParameters, readRopeParameters } from './rope-parameters.js';

/** Families whose graph the library knows. */
export type ModelType = 'llama' | 'mistral' | 'qwen2';

/** How one layer attends: to everything before, or to the last `sliding_window` positions. */
export type LayerType = 'full_attention' | 'sliding_attention';

/** What a family's config class in transformers 5.18 assumes where config.json is silent. */
interface FamilyDefaults {
  architecture: string;
  max_position_embeddings: number;
  /** Where the field is missing; null means as many as attention heads, which an explicit null always does. */
  num_key_value_heads: number | null;
  bos_token_id: number | null;
  eos_token_id: number | null;
}

const FAMILIES: Readonly<Record<ModelType, FamilyDefaults>> = {
  llama: {
    architecture: 'LlamaForCausalLM',
    max_position_embeddings: 2048,
    num_key_value_heads: null,
    bos_token_id: 1,
    eos_token_id: 2,
  },
  mistral: {
    architecture: 'MistralForCausalLM',
    max_position_embeddings: 131_072,
    num_key_value_heads: 8,
    bos_token_id: 1,
    eos_token_id: 2,
  },
  qwen2: {
    architecture: 'Qwen2ForCausalLM',
    max_position_embeddings: 32_768,
    num_key_value_heads: 32,
    bos_token_id: null,
    eos_token_id: null,
  },
};

/** `architectures` that can be run, by `model_type`. */
const SUPPORTED_ARCHITECTURES: Readonly<Record<ModelType, string>> = {
  llama: FAMILIES.llama.architecture,
  mistral: FAMILIES.mistral.architecture,
  qwen2: FAMILIES.qwen2.architecture,
};

const MODEL_TYPES = Object.keys(FAMILIES) as ModelType[];
const DEFAULT_SLIDING_WINDOW = 4096;

// About four times the largest published model of each kind, which stands behind; all numbers of bytes
// that follow from them stay below 2^53.
const MAX_VOCAB = 2 ** 21; // 262,144 of Gemma 3; 901,629 of XLM-V, which is no such model
const MAX_HIDDEN = 2 ** 16; // 16,384 of Llama 3.1 405B
const MAX_INTERMEDIATE = 2 ** 18; // 53,248 of Llama 3.1 405B
const MAX_LAYERS = 2 ** 10; // 126 of Llama 3.1 405B
const MAX_HEADS = 2 ** 10; // 128 of Llama 3.1 405B
const MAX_HEAD_DIM = 2 ** 10; // 256 of Gemma
/** Heads times their size: 16,384 in Llama 3.1 405B. */
const MAX_ATTENTION = 2 ** 17;
/** 1.8 trillion are the most that any published model is said to have. */
const MAX_PARAMETERS = 2 ** 42;

/** Options of {@link AutoConfig.from_pretrained}. */
export type ConfigOptions = Omit<HubOptions, 'patterns'>;

/** The family, by `model_type` or, where that is missing, by `architectures`. */
function readModelType(config: ConfigReader): ModelType {
  const architectures = config.strings('architectures');
  const architecture = (type: ModelType) => SUPPORTED_ARCHITECTURES[type].toLowerCase();
  const named = architectures.map((name) => name.toLowerCase());
  const declared = config.string('model_type');
  const family = MODEL_TYPES.find((type) =>
    declared === undefined ? named.includes(architecture(type)) : type === declared,
  );
  if (family !== undefined && (named.length === 0 || named.includes(architecture(family)))) {
    return family;
  }
  const found = architectures.length > 0 ? architectures.slice(0, 3).join(', ') : declared;
  throw new UnsupportedModelError(`The architecture ${found ?? '(none given)'} is not supported`, {
    file: config.file,
    subject: family === undefined && declared !== undefined ? 'model_type' : 'architectures',
    expected: Object.values(SUPPORTED_ARCHITECTURES).join(', '),
    found: found ?? 'neither model_type nor architectures',
    remedy:
      'Use a model of one of these architectures, as published in the layout of transformers.',
  });
}

/** GPTQ, AWQ, bitsandbytes and the like: their tensors have other names and types. */
function refuseQuantised({ raw, file }: ConfigReader): void {
  const { quantization_config: quantisation } = raw;
  if (quantisation === undefined || quantisation === null) return;
  const method = isObject(quantisation) ? quantisation.quant_method : undefined;
  throw new UnsupportedModelError('The weights of this model are quantized', {
    file,
    subject: 'quantization_config',
    expected: 'float32, float16 or bfloat16 weights',
    found: typeof method === 'string' ? method : quantisation,
    remedy: 'Use the unquantized repository of this model.',
  });
}

function readSlidingWindow(config: ConfigReader, family: ModelType): number | null {
  if (family === 'llama') return null;
  if (family === 'qwen2' && !config.boolean('use_sliding_window', false)) return null;
  if (config.raw.sliding_window === null) return null;
  return config.integer('sliding_window', 1, MAX_POSITIONS, DEFAULT_SLIDING_WINDOW);
}

function readLayerTypes(
  config: ConfigReader,
  family: ModelType,
  layers: number,
  sliding_window: number | null,
): LayerType[] {
  if (family === 'qwen2' && config.strings('layer_types').length > 0) {
    const types = config.strings('layer_types');
    const valid = types.every(
      (type) =>
        type === 'full_attention' || (type === 'sliding_attention' && sliding_window !== null),
    );
    if (!valid || types.length !== layers) {
      const kinds = sliding_window === null ? 'full_attention' : 'full_ or sliding_attention';
      config.fail('layer_types', `${layers} times ${kinds}`);
    }
    return types as LayerType[];
  }
  // Qwen2's lower layers see everything; Mistral's layers are all alike, whatever its layer_types say.
  const firstSliding =
    family === 'qwen2' ? config.integer('max_window_layers', 0, MAX_LAYERS, 28) : 0;
  return Array.from({ length: layers }, (_, layer) =>
    sliding_window !== null && layer >= firstSliding ? 'sliding_attention' : 'full_attention',
  );
}

function readDtype(config: ConfigReader): string | null {
  const field =
    config.raw.dtype === undefined || config.raw.dtype === null ? 'torch_dtype' : 'dtype';
  return config.string(field)?.replace(/^torch\./, '') ?? null;
}

/** Parameters of the matrices, the output's included. */
function parameterCount(config: PretrainedConfig): number {
  const { hidden_size, head_dim } = config;
  const heads = 2 * (config.num_attention_heads + config.num_key_value_heads);
  const layer = hidden_size * (heads * head_dim + 3 * config.intermediate_size);
  return 2 * config.vocab_size * hidden_size + config.num_hidden_layers * layer;
}

/**
 * A model's config.json: the fields that matter here, typed, bounded and with transformers 5.18's
 * defaults filled in. Sizes count elements.
 */
export class PretrainedConfig {
  readonly model_type: ModelType;
  readonly architectures: readonly string[];
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  /** Divides num_attention_heads. */
  readonly num_key_value_heads: number;
  /** Default: hidden_size / num_attention_heads. */
  readonly head_dim: number;
  /** Context length the model was made for, in tokens. */
  readonly max_position_embeddings: number;
  readonly rms_norm_eps: number;
  /** Always SiLU; anything else is refused. */
  readonly hidden_act: 'silu';
  readonly rope: RopeParameters;
  /** The output projection is the embedding matrix. */
  readonly tie_word_embeddings: boolean;
  /** Biases on all four attention projections (Llama). Qwen2 always has them on q, k and v, which is not a field. */
  readonly attention_bias: boolean;
  /** Biases on the three MLP projections (Llama). */
  readonly mlp_bias: boolean;
  /** Positions that a sliding layer sees, itself included; null where no layer slides. */
  readonly sliding_window: number | null;
  /** One entry a layer. */
  readonly layer_types: readonly LayerType[];
  readonly bos_token_id: number | null;
  readonly eos_token_id: number | number[] | null;
  readonly pad_token_id: number | null;
  /** Element type that the model was saved in, such as "float16"; null where not said. */
  readonly dtype: string | null;
  /** config.json as it is. */
  readonly raw: Readonly<JsonObject>;

  /**
   * @param raw parsed config.json.
   * @param file where it was read from, for messages.
   * @throws UnsupportedModelError naming the field, or the architecture and the supported ones;
   *   InvalidArgumentError where `raw` is no object.
   */
  constructor(raw: JsonObject, file?: string) {
    if (!isObject(raw)) throw invalidArgument('raw', 'an object, as config.json holds one', raw);
    if (file !== undefined && typeof file !== 'string') {
      throw invalidArgument('file', 'a path', file);
    }
    const config = new ConfigReader(raw, file);
    this.raw = raw;
    this.model_type = readModelType(config);
    const family = FAMILIES[this.model_type];
    this.architectures = config.strings('architectures');
    refuseQuantised(config);

    this.vocab_size = config.integer('vocab_size', 1, MAX_VOCAB);
    this.hidden_size = config.integer('hidden_size', 1, MAX_HIDDEN);
    this.intermediate_size = config.integer('intermediate_size', 1, MAX_INTERMEDIATE);
    this.num_hidden_layers = config.integer('num_hidden_layers', 1, MAX_LAYERS);
    const heads = config.integer('num_attention_heads', 1, MAX_HEADS);
    this.num_attention_heads = heads;
    const defaultHeads = raw.num_key_value_heads === null ? null : family.num_key_value_heads;
    this.num_key_value_heads = config.integer(
      'num_key_value_heads',
      1,
      heads,
      defaultHeads ?? heads,
    );
    if (heads % this.num_key_value_heads !== 0) {
      config.fail('num_key_value_heads', `a divisor of num_attention_heads, which is ${heads}`);
    }
    const headDimGiven = raw.head_dim !== undefined && raw.head_dim !== null;
    if (!headDimGiven && this.hidden_size % heads !== 0) {
      config.fail('hidden_size', `a multiple of num_attention_heads, which is ${heads}`);
    }
    this.head_dim = config.integer('head_dim', 1, MAX_HEAD_DIM, this.hidden_size / heads);
    if (this.head_dim % 2 !== 0 || this.head_dim > MAX_HEAD_DIM) {
      config.fail(headDimGiven ? 'head_dim' : 'hidden_size', 'an even size for each head');
    }
    if (heads * this.head_dim > MAX_ATTENTION) {
      config.fail('head_dim', `at most ${MAX_ATTENTION} for all ${heads} heads together`);
    }
    if (parameterCount(this) > MAX_PARAMETERS) {
      config.fail('num_hidden_layers', `a model of at most ${MAX_PARAMETERS} parameters`);
    }

    this.max_position_embeddings = config.integer(
      'max_position_embeddings',
      1,
      MAX_POSITIONS,
      family.max_position_embeddings,
    );
    this.rms_norm_eps = config.number('rms_norm_eps', { min: 0, max: 1 }, 1e-6);
    const activation = config.string('hidden_act') ?? 'silu';
    if (activation !== 'silu' && activation !== 'swish') config.fail('hidden_act', 'silu');
    this.hidden_act = 'silu';
    this.rope = readRopeParameters(config, this.max_position_embeddings);
    this.tie_word_embeddings = config.boolean('tie_word_embeddings', false);
    const biases = this.model_type === 'llama';
    this.attention_bias = biases && config.boolean('attention_bias', false);
    this.mlp_bias = biases && config.boolean('mlp_bias', false);

    const window = readSlidingWindow(config, this.model_type);
    this.layer_types = readLayerTypes(config, this.model_type, this.num_hidden_layers, window);
    this.sliding_window = window;
    this.bos_token_id = config.tokenId('bos_token_id', family.bos_token_id);
    this.eos_token_id = config.tokenIds('eos_token_id', family.eos_token_id);
    this.pad_token_id = config.tokenId('pad_token_id', null);
    this.dtype = readDtype(config);
  }

  /** The name that transformers 4 had for `dtype`. */
  get torch_dtype(): string | null {
    return this.dtype;
  }

  /** Base wavelength of the rotary embedding. */
  get rope_theta(): number {
    return this.rope.rope_theta;
  }

  /**
   * Reads `config.json` of a local folder.
   * @throws InvalidArgumentError, FileNotFoundError, CheckpointError (not JSON), UnsupportedModelError
   */
  static async from_folder(folder: string, signal?: AbortSignal): Promise<PretrainedConfig> {
    if (typeof folder !== 'string') throw invalidArgument('folder', 'a path', folder);
    const file = join(resolve(folder), 'config.json');
    const raw = await readBoundedJson(file, {
      maxBytes: LIMITS.configBytes,
      maxValues: LIMITS.configValues,
      maxDepth: LIMITS.jsonDepth,
      signal,
    }).catch(async (error) => {
      throw error instanceof FileNotFoundError ? await noModel(folder, file, error) : error;
    });
    return new PretrainedConfig(raw, file);
  }
}

/** What is wrong with a folder that has no config.json. */
async function noModel(
  folder: string,
  file: string,
  cause: FileNotFoundError,
): Promise<FileNotFoundError> {
  const foreign = await foreignFolder(folder);
  if (foreign === undefined) return cause;
  return new FileNotFoundError('This folder holds no model that can be loaded', {
    file,
    expected: 'config.json',
    ...foreign,
    cause,
  });
}

/** Loads a {@link PretrainedConfig} by folder or Hub id. */
export class AutoConfig {
  /**
   * @param dirOrId local folder, or the id of a repository on the Hub.
   * @throws FileNotFoundError, CheckpointError, UnsupportedModelError, HubError
   */
  static async from_pretrained(
    dirOrId: string,
    options: ConfigOptions = {},
  ): Promise<PretrainedConfig> {
    checkOptions('AutoConfig.from_pretrained', options, MODEL_RULES);
    const folder = await resolveModelDir(dirOrId, { ...options, patterns: ['config.json'] });
    return PretrainedConfig.from_folder(folder, options.signal);
  }
}
