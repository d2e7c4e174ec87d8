/**
 * komt: Llama-family chat models in Node.js, straight from their Hugging Face files.
 *
 * Names that Hugging Face has are Hugging Face's, in snake_case, so that Python ports line by line.
 * @packageDocumentation
 */
export type {
  DecodeRequest,
  DecodeRow,
  DecodeStep,
  EngineSession,
  ForwardResult,
  ForwardRow,
  NativeSampling,
} from './engine.js';
export {
  AbortError,
  CheckpointError,
  DeviceError,
  DisposedError,
  DownloadError,
  type ErrorDetails,
  FileNotFoundError,
  GatedRepositoryError,
  HubError,
  InvalidArgumentError,
  KomtError,
  NativeLoadError,
  OfflineError,
  OutOfMemoryError,
  RepositoryNotFoundError,
  RevisionNotFoundError,
  TokenizerError,
  UnsupportedModelError,
} from './errors.js';
export { GenerationConfig } from './generation/configuration.js';
export type {
  GenerateDictOptions,
  GenerateTensorOptions,
} from './generation/generate.js';
export type { GenerationFields } from './generation/generation-fields.js';
export { UnbatchedClassifierFreeGuidanceLogitsProcessor } from './generation/guidance.js';
export {
  LogitsProcessor,
  type LogitsProcessorFunction,
  type LogitsProcessorLike,
  LogitsProcessorList,
} from './generation/logits-processor.js';
export {
  get_logits_processor,
  type LogitsProcessorContext,
} from './generation/logits-processor-list.js';
export * from './generation/logits-processors.js';
export * from './generation/logits-warpers.js';
export type { GenerationModel, GenerationStreamer } from './generation/model.js';
export type { GenerateOptions } from './generation/options.js';
export {
  type ChosenTokenLogprob,
  compute_transition_scores,
  type GenerateOutput,
  type PromptLookupStatistics,
  type TokenLogprob,
} from './generation/output.js';
export { set_seed } from './generation/random.js';
export type {
  ForwardOptions,
  ForwardOutput,
  Loglikelihood,
  LoglikelihoodRequest,
} from './generation/scoring.js';
export { StopStringCriteria } from './generation/stop-strings.js';
export {
  ConfidenceCriteria,
  EosTokenCriteria,
  MaxLengthCriteria,
  MaxTimeCriteria,
  type StoppingAnswer,
  StoppingCriteria,
  type StoppingCriteriaFunction,
  type StoppingCriteriaLike,
  StoppingCriteriaList,
} from './generation/stopping-criteria.js';
export type { StreamOptions } from './generation/stream.js';
export {
  BaseStreamer,
  StreamTimeoutError,
  TextIteratorStreamer,
  type TextIteratorStreamerOptions,
  TextStreamer,
  type TextStreamerOptions,
} from './generation/streamers.js';
export type { HubOptions, ProgressCallback, ProgressInfo } from './hub/index.js';
export { parseDType } from './models/architecture.js';
export { AutoModelForCausalLM, type DTypeOption, type ModelOptions } from './models/auto.js';
export { AutoConfig, type LayerType, type ModelType, PretrainedConfig } from './models/config.js';
export type { DeviceMap, MaxMemory } from './models/device-map.js';
export { estimateMemory, type MemoryEstimate } from './models/memory.js';
export { PreTrainedModel } from './models/model.js';
export type { RopeParameters } from './models/rope-parameters.js';
export type { BuildInfo, ComputeDType, DeviceInfo, NativePlacement } from './native/addon.js';
export { buildInfo, listDevices } from './native/load.js';
export { Tensor, type TensorData, type TensorType, type TokenIds } from './tensor.js';
export * from './tokenizers/index.js';
export { resetWarnings, setWarningHandler, type WarningHandler } from './warnings.js';
