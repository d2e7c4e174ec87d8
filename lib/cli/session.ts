import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type PreTrainedModel,
  type PreTrainedTokenizer,
} from 'komt';
import { type LoadFlags, loadOptions } from './options.js';
import { DEMO_MODEL } from './package.js';
import { LoadProgress } from './progress.js';

export interface LoadedModel {
  model: PreTrainedModel;
  tokenizer: PreTrainedTokenizer;
  /** Seconds from the call to the last weight. */
  loadSeconds: number;
}

/** Loads what the flags name, with bars on a terminal. */
export async function loadModel(flags: LoadFlags, signal?: AbortSignal): Promise<LoadedModel> {
  const name = flags.model ?? DEMO_MODEL;
  const progress = new LoadProgress();
  const started = performance.now();
  try {
    const options = { ...loadOptions(flags), progress_callback: progress.callback, signal };
    const tokenizer = await AutoTokenizer.from_pretrained(name, options);
    const model = await AutoModelForCausalLM.from_pretrained(name, options);
    return { model, tokenizer, loadSeconds: (performance.now() - started) / 1000 };
  } finally {
    progress.stop();
  }
}

/** How the answer's speed is told, on stderr so that piped text stays clean. */
export function speedLine(
  model: PreTrainedModel,
  tokens: number,
  seconds: number,
  firstSeconds: number,
): string {
  const rate = tokens > 1 ? (tokens - 1) / (seconds - firstSeconds) : 0;
  const devices = [...new Set(model.hf_device_map.map((run) => run.device))].join(' + ');
  return `${tokens} tokens, ${rate.toFixed(1)} tokens/s, first after ${(firstSeconds * 1000).toFixed(0)} ms, on ${devices} in ${model.dtype}`;
}
