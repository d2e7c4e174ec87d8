import type { OptionRules } from './check-options.js';
import type { HubOptions } from './hub/index.js';
import type { ModelOptions } from './models/auto.js';

/** Every option with which files are found. */
export const HUB_OPTIONS = [
  'revision',
  'cache_dir',
  'token',
  'local_files_only',
  'subfolder',
  'use_safetensors',
  'progress_callback',
  'signal',
] as const satisfies readonly Exclude<keyof HubOptions, 'patterns'>[];

const MODEL_OPTIONS = [
  ...HUB_OPTIONS,
  'device_map',
  'max_memory',
  'dtype',
  'torch_dtype',
  'config',
  'num_threads',
  'cache_tokens',
] as const satisfies readonly (keyof ModelOptions)[];

const UNQUANTISED = 'Weights are loaded as float32, float16 or bfloat16: choose with `dtype`.';

/** Options of `AutoModelForCausalLM.from_pretrained`, and what transformers' has beside them. */
export const MODEL_RULES: OptionRules = {
  known: MODEL_OPTIONS,
  unused: {
    // No code of a repository is ever run, and there is one implementation of attention.
    trust_remote_code: 'any',
    attn_implementation: 'any',
    low_cpu_mem_usage: 'any',
    offload_folder: 'any',
    offload_state_dict: 'any',
    resume_download: 'any',
    weights_only: 'any',
    use_cache: 'any',
    use_fast: 'any',
    force_download: [false],
    output_loading_info: [false],
    ignore_mismatched_sizes: [false],
    load_in_8bit: [false],
    load_in_4bit: [false],
    quantization_config: [],
    variant: [],
  },
  remedies: {
    load_in_8bit: UNQUANTISED,
    load_in_4bit: UNQUANTISED,
    quantization_config: UNQUANTISED,
    variant: 'Give a folder or revision whose weights have their usual names.',
    force_download: 'What is in the cache is checked already; delete its folder to fetch it anew.',
    device: 'Devices are chosen with `device_map`, such as device_map: "cuda".',
    use_auth_token: 'The option is `token`.',
    gguf_file: 'GGUF is not read: name the repository that the copy was made from.',
    quantized: UNQUANTISED,
    gpuLayers: 'Devices are chosen with `device_map`, such as device_map: "cuda" or "auto".',
    n_gpu_layers: 'Devices are chosen with `device_map`, such as device_map: "cuda" or "auto".',
    contextSize: 'The cache is sized with `cache_tokens`.',
    n_ctx: 'The cache is sized with `cache_tokens`.',
    proxies: 'Set HTTPS_PROXY and NODE_USE_ENV_PROXY, or HF_ENDPOINT.',
  },
};
