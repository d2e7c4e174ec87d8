import { invalidArgument } from '../errors.js';
import { guard } from '../native/errors.js';
import { dim, outputTensor, requireInteger, requireNumber, requireTensor } from './checks.js';
import { DeviceTensor } from './device-tensor.js';

/** Names and meaning are those of Hugging Face's generation config; `null` and absence switch off. */
export interface SampleOptions {
  /** Default false: the first id with the largest score. */
  do_sample?: boolean;
  /** Positive. Default 1. */
  temperature?: number;
  /** Ties with the k-th largest stay. Default 0: off. */
  top_k?: number;
  /** 0 to 1. Default 1: off. */
  top_p?: number;
  /** 0 to 1. Default 0: off. */
  min_p?: number;
  /** Above 0, to 1. Default 1: off. */
  typical_p?: number;
  /** Positive; other than 1 it needs `seen`. Default 1: off. */
  repetition_penalty?: number;
  /** uint8 [rows, vocab_size]: 1 = the id has occurred. The chosen id is marked. */
  seen?: DeviceTensor;
  /** int32 [n]: masked while `steps` is below `min_steps`. */
  eos_token_ids?: DeviceTensor;
  /** int32 [rows]. */
  min_steps?: DeviceTensor;
  /** int32 [rows]: index of the new token; needed to sample and to mask. */
  steps?: DeviceTensor;
  /** Key of the random numbers, 64 bits. Default 0n. */
  seed?: bigint;
  /** int32 [rows, 2], low and high word: which stream of random numbers a row draws from. */
  stream_hashes?: DeviceTensor;
  /** int32 [rows]: part of the stream's name, for rows with equal hashes. */
  stream_lanes?: DeviceTensor;
  /** Whether log-probabilities of the chosen ids are wanted. Default false. */
  logprobs?: boolean;
  /** int32 [rows] for the ids. Default: a new tensor. */
  output?: DeviceTensor;
}

export interface SampleResult {
  /** int32 [rows]. */
  tokens: DeviceTensor;
  /** float32 [rows], under the processed scores; with `logprobs`. */
  logprobs?: DeviceTensor;
}

/**
 * The next token of every row, chosen on the device in the order of Hugging Face's processors: repetition
 * penalty, masked end-of-sequence ids, temperature, top_k, top_p, min_p, typical_p. Random numbers are
 * Philox4x32-10 keyed by `seed` at (step, lane, hash): the same as `generate` draws on every backend.
 * @param logits float32 [rows, vocab_size], vocab_size <= 2^24; overwritten when sampling
 */
export function sample(logits: DeviceTensor, options: SampleOptions = {}): SampleResult {
  requireTensor('logits', logits, ['float32'], ['rows', 'vocab_size']);
  const { device } = logits;
  const rows = dim(logits, 0);
  const vocab = requireInteger('vocab_size', dim(logits, 1), 1, 2 ** 24);
  const { do_sample = false, seed = 0n, seen, steps, min_steps, eos_token_ids } = options;
  const { stream_hashes, stream_lanes } = options;
  const positive = (x: number) => x > 0 && Number.isFinite(x);
  const share = (x: number) => x >= 0 && x <= 1;
  const number = (name: 'temperature' | 'repetition_penalty') =>
    requireNumber(name, options[name] ?? 1, 'a number > 0', positive);
  const portion = (name: 'top_p' | 'min_p' | 'typical_p', off: number) =>
    requireNumber(name, options[name] ?? off, 'a number from 0 to 1', share);
  if (typeof seed !== 'bigint' || seed < 0n || seed >= 1n << 64n) {
    throw invalidArgument('seed', 'a bigint of 64 bits', seed);
  }
  const perRow = (name: string, value: DeviceTensor | undefined) =>
    value && requireTensor(name, value, ['int32'], [rows], device);
  perRow('steps', steps);
  perRow('min_steps', min_steps);
  perRow('stream_lanes', stream_lanes);
  if (stream_hashes) requireTensor('stream_hashes', stream_hashes, ['int32'], [rows, 2], device);
  if (eos_token_ids) requireTensor('eos_token_ids', eos_token_ids, ['int32'], ['n'], device);
  if (seen) requireTensor('seen', seen, ['uint8'], [rows, vocab], device);
  const repetitionPenalty = number('repetition_penalty');
  if (repetitionPenalty !== 1 && !seen) {
    throw invalidArgument('seen', 'a tensor, for a repetition_penalty', seen);
  }
  const need = do_sample ? { steps, stream_hashes, stream_lanes } : min_steps ? { steps } : {};
  for (const [name, value] of Object.entries(need)) {
    if (!value) throw invalidArgument(name, `a tensor, to ${do_sample ? 'sample' : 'mask'}`, value);
  }
  const settings = {
    doSample: do_sample,
    temperature: number('temperature'),
    topK: requireInteger('top_k', options.top_k ?? 0, 0),
    topP: portion('top_p', 1),
    minP: portion('min_p', 0),
    typicalP: requireNumber(
      'typical_p',
      options.typical_p ?? 1,
      'a number above 0, to 1',
      (x) => x > 0 && x <= 1,
    ),
    repetitionPenalty,
  };
  const tokens = outputTensor(options.output, 'int32', [rows], device);
  const logprobs = options.logprobs ? new DeviceTensor(device, 'float32', [rows]) : undefined;
  guard(() =>
    device.kernels.sample(device.handle, {
      logits: logits.handle,
      rows,
      vocab,
      ...settings,
      eosTokenIds: eos_token_ids?.handle,
      numEos: eos_token_ids?.size ?? 0,
      minSteps: min_steps?.handle,
      steps: steps?.handle,
      seed,
      streamHashes: stream_hashes?.handle,
      streamLanes: stream_lanes?.handle,
      seen: seen?.handle,
      tokens: tokens.handle,
      logprobs: logprobs?.handle,
    }),
  );
  return { tokens, logprobs };
}
