import type { NativeSampling } from '../engine.js';
import type { LogitsProcessorList } from './logits-processor.js';
import {
  MinLengthLogitsProcessor,
  MinNewTokensLengthLogitsProcessor,
  RepetitionPenaltyLogitsProcessor,
} from './logits-processors.js';
import {
  MinPLogitsWarper,
  TemperatureLogitsWarper,
  TopKLogitsWarper,
  TopPLogitsWarper,
  TypicalLogitsWarper,
} from './logits-warpers.js';
import { EosTokenCriteria, MaxLengthCriteria, StoppingCriteriaList } from './stopping-criteria.js';

/** How a batch is decoded natively. */
export interface NativePlan {
  sampling: NativeSampling;
  eos_token_ids: readonly number[];
  /** Criteria that the engine does not know and JavaScript answers for after every step. */
  judges: StoppingCriteriaList;
}

/** What the choice between native and JavaScript decoding depends on. */
export interface PlanInput {
  processors: LogitsProcessorList;
  criteria: StoppingCriteriaList;
  do_sample: boolean;
  /** Length of the prompts, padding included. */
  promptLength: number;
  /** Scores, logits or alternatives are wanted at every step. */
  needsScores: boolean;
}

/** Native processors in the order the native sampler applies them. */
const NATIVE_ORDER: readonly unknown[] = [
  RepetitionPenaltyLogitsProcessor,
  MinLengthLogitsProcessor,
  MinNewTokensLengthLogitsProcessor,
  TemperatureLogitsWarper,
  TopKLogitsWarper,
  TopPLogitsWarper,
  MinPLogitsWarper,
  TypicalLogitsWarper,
];

const WITHOUT_PROCESSORS: Omit<NativeSampling, 'do_sample'> = {
  temperature: 1,
  top_k: 0,
  top_p: 1,
  min_p: 0,
  typical_p: 1,
  repetition_penalty: 1,
  min_new_tokens: 0,
};

function sameIds(a: readonly number[], b: readonly number[]): boolean {
  return a.every((id) => b.includes(id)) && b.every((id) => a.includes(id));
}

/** The processors as the native sampler's parameters, or null where it has no equal. */
function toNativeSampling(
  { processors, do_sample, promptLength }: PlanInput,
  eos_token_ids: readonly number[],
): NativeSampling | null {
  const sampling: NativeSampling = { do_sample, ...WITHOUT_PROCESSORS };
  let rank = -1;
  for (const p of processors) {
    // Exactly these classes: a subclass may do anything.
    const next = NATIVE_ORDER.indexOf(p.constructor);
    if (next <= rank) return null;
    rank = next;
    const drops = 'filter_value' in p && p.filter_value !== Number.NEGATIVE_INFINITY;
    const keepsMore = 'min_tokens_to_keep' in p && p.min_tokens_to_keep !== 1;
    if (drops || keepsMore) return null;

    if (p instanceof RepetitionPenaltyLogitsProcessor) {
      if (p.prompt_ignore_length !== null) return null;
      sampling.repetition_penalty = p.penalty;
    } else if (p instanceof MinLengthLogitsProcessor) {
      if (!sameIds(p.eos_token_id, eos_token_ids)) return null;
      sampling.min_new_tokens = Math.max(sampling.min_new_tokens, p.min_length - promptLength);
    } else if (p instanceof MinNewTokensLengthLogitsProcessor) {
      if (!sameIds(p.eos_token_id, eos_token_ids)) return null;
      const least = p.min_new_tokens + p.prompt_length_to_skip - promptLength;
      sampling.min_new_tokens = Math.max(sampling.min_new_tokens, least);
    } else if (!do_sample) {
      return null;
    } else if (p instanceof TemperatureLogitsWarper) sampling.temperature = p.temperature;
    else if (p instanceof TopKLogitsWarper) sampling.top_k = p.top_k;
    else if (p instanceof TopPLogitsWarper) sampling.top_p = p.top_p;
    else if (p instanceof MinPLogitsWarper) sampling.min_p = p.min_p;
    else if (p instanceof TypicalLogitsWarper) sampling.typical_p = p.mass;
  }
  return sampling;
}

/**
 * The native plan for a batch, or null where it must be decoded step by step in JavaScript: when
 * a processor is the caller's own or has no native equal, or when scores are wanted.
 */
export function planNative(input: PlanInput): NativePlan | null {
  if (input.needsScores) return null;
  const eos_token_ids: number[] = [];
  const judges = new StoppingCriteriaList();
  for (const criterion of input.criteria) {
    if (criterion instanceof EosTokenCriteria && criterion.constructor === EosTokenCriteria) {
      eos_token_ids.push(...criterion.eos_token_id);
    } else if (criterion.constructor !== MaxLengthCriteria) judges.push(criterion);
  }
  const sampling = toNativeSampling(input, eos_token_ids);
  return sampling === null ? null : { sampling, eos_token_ids, judges };
}
