import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { GENERATION_FIELDS } from '../../../lib/generation/generation-fields.js';
import { CALL_OPTIONS } from '../../../lib/generation/options.js';
import * as komt from '../../../lib/index.js';
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

const root = process.cwd();
const TINY = path.join(root, 'test/fixtures/goldens/models/qwen2-bias');
const TOKENIZER = path.join(root, 'models/komt-tiny');

/** A folder that programs are given in a repository's place, for some of them save into it. */
class Copy {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'komt-api-'));
  readonly #files = new Map<string, { bytes: Buffer; changed: number }>();

  constructor(source: string, wanted: (name: string) => boolean = () => true) {
    for (const name of readdirSync(source).filter(wanted)) {
      cpSync(path.join(source, name), this.#path(name));
      const bytes = readFileSync(this.#path(name));
      this.#files.set(name, { bytes, changed: statSync(this.#path(name)).mtimeMs });
    }
  }

  /** Undoes what a program saved, so that the next one doesn't depend on it. */
  restore(): void {
    for (const name of readdirSync(this.folder)) {
      if (!this.#files.has(name)) rmSync(this.#path(name), { recursive: true });
    }
    for (const [name, file] of this.#files) {
      const now = statSync(this.#path(name), { throwIfNoEntry: false });
      if (now?.mtimeMs === file.changed) continue;
      if (now?.isDirectory()) rmSync(this.#path(name), { recursive: true });
      writeFileSync(this.#path(name), file.bytes);
      file.changed = statSync(this.#path(name)).mtimeMs;
    }
  }

  #path(name: string): string {
    return path.join(this.folder, name);
  }
}
let modelCopy: Copy;
let tokenizerCopy: Copy;

let model: komt.PreTrainedModel;
let tokenizer: komt.PreTrainedTokenizer;
let config: komt.PretrainedConfig;
/** Ends whatever an input left waiting. */
let ending = new AbortController();

const row = (length = 8) => Float32Array.from({ length }, (_, i) => Math.sin(i));

/** Valid arguments by name, made anew for every use. */
const VALUES: Surface['values'] = {
  path: () => modelCopy.folder,
  tokenizerPath: () => tokenizerCopy.folder,
  folder: () => 'saved',
  loadOptions: () => ({ device_map: 'cpu', num_threads: 1, signal: ending.signal }),
  tokenizerOptions: () => ({ local_files_only: true }),
  configFields: () => ({ ...config.raw }),
  config: () => config,
  generateOptions: () => ({
    input_ids: [[1, 5, 7]],
    max_new_tokens: 3,
    signal: ending.signal,
  }),
  sampleOptions: () => ({
    ...{ input_ids: [[1, 5]], max_new_tokens: 3, signal: ending.signal },
    ...{ do_sample: true, seed: 1, no_repeat_ngram_size: 2, num_return_sequences: 2 },
  }),
  beamOptions: () => ({
    ...{ input_ids: [[1, 5]], max_new_tokens: 3, signal: ending.signal },
    ...{ num_beams: 3, return_dict_in_generate: true, output_scores: true },
  }),
  lookupOptions: () => ({
    ...{ input_ids: [[1, 5, 7, 5, 7]], max_new_tokens: 3, signal: ending.signal },
    prompt_lookup_num_tokens: 2,
  }),
  streamerOptions: () => ({
    ...{ input_ids: [[1, 5]], max_new_tokens: 3, signal: ending.signal },
    streamer: { put() {}, end() {} },
    stopping_criteria: [() => false],
    logits_processor: (_: number[][], scores: Float32Array[]) => scores,
  }),
  generationFields: () => ({ max_new_tokens: 5, do_sample: true, top_k: 5 }),
  forwardOptions: () => ({ input_ids: [[1, 5, 7]], signal: ending.signal }),
  streamOptions: () => ({ input_ids: [[1, 5]], max_new_tokens: 3, signal: ending.signal }),
  requests: () => [{ context: [1], continuation: [5, 7] }],
  signalOptions: () => ({ signal: ending.signal }),
  json: () => '{"max_new_tokens":5}',
  message: () => 'message',
  details: () => ({ subject: 'x', expected: 1, found: 2, bytesNeeded: 1 }),
  text: () => '안녕하세요, world',
  texts: () => ['stop', '###'],
  callOptions: () => ({ return_tensors: 'pt', padding: true }),
  decodeOptions: () => ({ skip_special_tokens: true }),
  textStreamerOptions: () => ({ skip_prompt: true, callback_function: () => {} }),
  textIteratorOptions: () => ({ skip_prompt: true, timeout: 0.05 }),
  promptName: () => 'llama-2-chat',
  promptTokens: () => ({ bos_token: '<s>', eos_token: '</s>' }),
  chat: () => [{ role: 'user', content: 'hello' }],
  chatOptions: () => ({ tokenize: false, chat_template: '{{ messages[0].content }}' }),
  tokenizer: () => tokenizer,
  model: () => model,
  session: () => model.openSession(),
  guidanceContext: () => ({ prompts: [[1]], copies: 1, promptLength: 1 }),
  processorContext: () => ({ input_ids_seq_length: 2, eos_token_id: 2 }),
  prefix: () => () => [1, 2],
  function: () => () => {},
  processor: () => (_: number[][], scores: Float32Array[]) => scores,
  criteria: () => [new komt.MaxLengthCriteria(5)],
  processors: () => [new komt.TemperatureLogitsWarper(0.5)],
  ids: () => [1, 5, 2],
  rows: () => [[1, 5, 2]],
  scores: () => [row()],
  bias: () => [[[1], 2.5]],
  words: () => [[1], [1, 2]],
  decay: () => [1, 1.5],
  tensor: () => komt.Tensor.fromRows([[1, 5, 2]]),
  stepScores: () => [new komt.Tensor('float32', row(), [1, 8])],
  type: () => 'float32',
  floats: () => row(6),
  dims: () => [2, 3],
  range: () => [0, 2],
  dtype: () => 'float16',
  device: () => 'cpu',
  one: () => 1,
  two: () => 2,
  half: () => 0.5,
  none: () => null,
};

const ERROR_ARGS = ['message', 'details'];

/** Arguments of valid calls of the exports, by their names. */
const ARGS: Readonly<Record<string, readonly string[]>> = {
  AutoConfig: [],
  AutoModelForCausalLM: [],
  AutoTokenizer: [],
  BaseStreamer: [],
  BatchEncoding: ['generateOptions'],
  ConfidenceCriteria: ['half'],
  DecodeStream: ['tokenizer', 'decodeOptions'],
  EncoderRepetitionPenaltyLogitsProcessor: ['two', 'rows'],
  EosTokenCriteria: ['ids'],
  EpsilonLogitsWarper: ['half'],
  EtaLogitsWarper: ['half'],
  ExponentialDecayLengthPenalty: ['decay', 'ids', 'one'],
  ForcedBOSTokenLogitsProcessor: ['one'],
  ForcedEOSTokenLogitsProcessor: ['two', 'ids'],
  GenerationConfig: ['generationFields'],
  InfNanRemoveLogitsProcessor: [],
  LogitNormalization: [],
  LogitsProcessor: [],
  LogitsProcessorList: ['processors'],
  MaxLengthCriteria: ['two', 'two'],
  MaxTimeCriteria: ['half', 'none'],
  MinLengthLogitsProcessor: ['two', 'ids'],
  MinNewTokensLengthLogitsProcessor: ['one', 'two', 'ids'],
  MinPLogitsWarper: ['half'],
  NoBadWordsLogitsProcessor: ['words', 'one'],
  NoRepeatNGramLogitsProcessor: ['two', 'ids'],
  PreTrainedModel: ['model'],
  PreTrainedTokenizer: ['tokenizer'],
  PrefixConstrainedLogitsProcessor: ['prefix', 'one'],
  PretrainedConfig: ['configFields'],
  RepetitionPenaltyLogitsProcessor: ['two', 'one', 'ids'],
  SequenceBiasLogitsProcessor: ['bias'],
  StopStringCriteria: ['tokenizer', 'texts'],
  StoppingCriteria: [],
  StoppingCriteriaList: ['criteria'],
  SuppressTokensAtBeginLogitsProcessor: ['ids', 'one'],
  SuppressTokensLogitsProcessor: ['ids'],
  TemperatureLogitsWarper: ['half'],
  Tensor: ['type', 'floats', 'dims'],
  TextIteratorStreamer: ['tokenizer', 'textIteratorOptions'],
  TextStreamer: ['tokenizer', 'textStreamerOptions'],
  TopHLogitsWarper: ['half'],
  TopKLogitsWarper: ['two'],
  TopPLogitsWarper: ['half'],
  TypicalLogitsWarper: ['half'],
  UnbatchedClassifierFreeGuidanceLogitsProcessor: ['two', 'session', 'guidanceContext'],
  applyPromptTemplate: ['promptName', 'chat', 'promptTokens'],
  buildInfo: [],
  compute_transition_scores: ['tensor', 'stepScores'],
  estimateMemory: ['config', 'dtype', 'type'],
  get_logits_processor: ['generationFields', 'processorContext'],
  listDevices: [],
  parseDType: ['dtype'],
  resetWarnings: [],
  set_seed: ['two'],
  setWarningHandler: ['function'],
};

/** Arguments of methods, by class and name; those that are not here have none. */
const METHOD_ARGS: Readonly<Record<string, readonly string[]>> = {
  'AutoConfig.from_pretrained': ['path', 'signalOptions'],
  'AutoModelForCausalLM.from_pretrained': ['path', 'loadOptions'],
  'AutoTokenizer.from_pretrained': ['tokenizerPath', 'tokenizerOptions'],
  'GenerationConfig.from_json': ['json'],
  'GenerationConfig.from_model_config': ['configFields'],
  'GenerationConfig.from_pretrained': ['path', 'generationFields'],
  'GenerationConfig#update': ['generationFields'],
  'GenerationConfig#save_pretrained': ['folder'],
  'LogitsProcessorList#_call': ['rows', 'scores'],
  'PreTrainedModel#_call': ['forwardOptions'],
  'PreTrainedModel#compute_transition_scores': ['tensor', 'stepScores'],
  'PreTrainedModel#forward': ['forwardOptions'],
  'PreTrainedModel#generate': ['generateOptions'],
  'PreTrainedModel#loglikelihood': ['requests', 'signalOptions'],
  'PreTrainedModel#stream': ['streamOptions'],
  'PreTrainedModel#to': ['device'],
  'PretrainedConfig.from_folder': ['path'],
  'Tensor.fromRows': ['rows'],
  'Tensor#at': ['one'],
  'Tensor#slice': ['none', 'range'],
};

/** More ways to call what has several. */
const VARIANTS: Readonly<Record<string, readonly string[][]>> = {
  'PreTrainedModel#generate': [
    ['sampleOptions'],
    ['beamOptions'],
    ['lookupOptions'],
    ['streamerOptions'],
  ],
};

/** Instances whose methods are called. Those of the tokenizers have targets of their own. */
const INSTANCES: Readonly<Record<string, () => object>> = {
  PreTrainedModel: () => model,
  Tensor: () => komt.Tensor.fromRows([[1, 5, 2]]),
  GenerationConfig: () => new komt.GenerationConfig({ top_k: 5, do_sample: true }),
};

/** What would take the shared model away is called on one of its own. */
const OF_ITS_OWN = ['dispose'];

type Constructor = new (...args: unknown[]) => unknown;
type Callable = (...args: unknown[]) => unknown;

function isClass(value: unknown): value is Constructor {
  return typeof value === 'function' && /^class\b/.test(Function.prototype.toString.call(value));
}

function isError(value: Constructor): boolean {
  return value === komt.KomtError || value.prototype instanceof komt.KomtError;
}

/** A made processor or criterion is called too: rows and scores are what all of them take. */
function construct(Class: Constructor, args: unknown[]): unknown {
  const made = new Class(...args);
  const isProcessor = made instanceof komt.LogitsProcessor;
  if (isProcessor) return (made as unknown as Callable)([[1, 5, 2]], [row()]);
  if (made instanceof komt.StoppingCriteria)
    return (made as unknown as Callable)([[1, 5, 2]], null);
  return made;
}

function methodsOf(name: string, Class: Constructor): Record<string, Recipe> {
  const out: Record<string, Recipe> = {};
  const methods = (object: object) =>
    Object.entries(Object.getOwnPropertyDescriptors(object))
      .filter(([method, { value }]) => typeof value === 'function' && method !== 'constructor')
      .map(([method]) => method);
  for (const method of methods(Class)) {
    const full = `${name}.${method}`;
    const run = (args: unknown[]) =>
      (Class as unknown as Record<string, Callable>)[method]?.(...args);
    out[full] = { args: METHOD_ARGS[full] ?? [], run };
  }
  const instance = INSTANCES[name];
  if (instance === undefined) return out;
  for (const method of methods(Class.prototype)) {
    const full = `${name}#${method}`;
    if (OF_ITS_OWN.includes(method)) continue;
    const run = (args: unknown[]) => (instance() as Record<string, Callable>)[method]?.(...args);
    [METHOD_ARGS[full] ?? [], ...(VARIANTS[full] ?? [])].forEach((args, i) => {
      out[i === 0 ? full : `${full}/${i}`] = { args, run };
    });
  }
  return out;
}

/** A recipe for every export and its methods. */
function recipes(): Record<string, Recipe> {
  const out: Record<string, Recipe> = {};
  for (const [name, value] of Object.entries(komt) as [string, unknown][]) {
    if (typeof value !== 'function') continue;
    const args = ARGS[name] ?? (isClass(value) && isError(value) ? ERROR_ARGS : undefined);
    if (args === undefined)
      throw new Error(`No recipe for export ${name}: add its arguments to ARGS`);
    out[name] = isClass(value)
      ? { args, run: (given) => construct(value, given) }
      : { args, run: (given) => (value as Callable)(...given) };
    if (isClass(value)) Object.assign(out, methodsOf(name, value));
  }
  return out;
}

// The constructors of these two are not for callers: a loader makes them.
const INTERNAL = ['PreTrainedModel', 'PreTrainedTokenizer', 'DecodeStream', 'BatchEncoding'];
const surface: Surface = { recipes: recipes(), values: VALUES };
for (const name of INTERNAL) delete (surface.recipes as Record<string, Recipe>)[name];

const FIELDS = [
  ...GENERATION_FIELDS,
  ...CALL_OPTIONS,
  ...[
    'device_map',
    'max_memory',
    'dtype',
    'config',
    'num_threads',
    'cache_tokens',
    'use_safetensors',
  ],
  ...['revision', 'cache_dir', 'token', 'local_files_only', 'subfolder', 'progress_callback'],
  ...['output_hidden_states', 'skip_prompt', 'flush', 'timeout', 'decode_kwargs', 'padding'],
];

/** What the model says after [1], by transformers: test/fixtures/goldens/qwen2-bias.json. */
let golden: string;
const answer = async (): Promise<string> => {
  const out = await model.generate({ input_ids: [[1]], max_new_tokens: 5, generation_config: {} });
  return JSON.stringify(out);
};

export const target: FuzzTarget = {
  name: 'api',
  sources: [
    'lib/tensor.ts',
    'lib/abort.ts',
    'lib/check-options.ts',
    'lib/generation/beam-search.ts',
    'lib/generation/checks.ts',
    'lib/generation/configuration.ts',
    'lib/generation/decode-loop.ts',
    'lib/generation/field-types.ts',
    'lib/generation/generate.ts',
    'lib/generation/inputs.ts',
    'lib/generation/logits-processor.ts',
    'lib/generation/logits-processors.ts',
    'lib/generation/resolve.ts',
    'lib/generation/scoring.ts',
    'lib/generation/stopping-criteria.ts',
    'lib/generation/user-code.ts',
    'lib/generation/validation.ts',
    'lib/models/auto.ts',
    'lib/models/model.ts',
  ],
  minimumCoverage: 76,
  seeds: () => validPrograms(surface),
  mutate: (input, random) => mutateProgram(input, random, surface, FIELDS),
  prepare: async () => {
    process.env.HF_HUB_OFFLINE = '1';
    komt.setWarningHandler(() => {});
    modelCopy = new Copy(TINY);
    tokenizerCopy = new Copy(TOKENIZER, (name) => name !== 'model.safetensors');
    // Mapped by the model that is kept: not the file that programs may write to.
    model = await komt.AutoModelForCausalLM.from_pretrained(TINY, { num_threads: 1 });
    config = model.config;
    tokenizer = await komt.AutoTokenizer.from_pretrained(TOKENIZER);
    golden = await answer();
  },
  run: async (input, folder) => {
    process.chdir(folder);
    ending = new AbortController();
    const rejections: unknown[] = [];
    const unhandled = (error: unknown): void => void rejections.push(error);
    process.on('unhandledRejection', unhandled);
    let refused: unknown;
    try {
      for (const { call, args } of JSON.parse(Buffer.from(input).toString()) as Call[]) {
        const recipe = surface.recipes[call];
        if (recipe === undefined) continue;
        const result = recipe.run(args.map((arg) => build(arg, surface)));
        await settle(result, () => ending.abort());
      }
    } catch (error) {
      if (!(error instanceof komt.KomtError) && !isArgumentsOwn(error)) throw error;
      if (error instanceof komt.KomtError) refused = error;
    } finally {
      ending.abort();
      await new Promise((resolve) => setImmediate(resolve));
      process.off('unhandledRejection', unhandled);
      komt.setWarningHandler(() => {});
      modelCopy.restore();
      tokenizerCopy.restore();
    }
    const stray = rejections.find((error) => !isArgumentsOwn(error));
    if (stray !== undefined) throw stray;
    if ((await answer()) !== golden) throw new Error('The model no longer says what it said');
    if (refused !== undefined) throw refused;
  },
  planted: {
    file: 'lib/check-options.ts',
    find: 'if (!isObject(options)) {',
    replace: 'if (Array.isArray(options)) {',
  },
};
