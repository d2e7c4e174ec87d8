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

/** Times an answer token by token. */
export class AnswerClock {
  readonly #started = performance.now();
  #first = 0;
  #last = 0;
  #tokens = 0;

  tick(): void {
    this.#last = performance.now();
    if (this.#tokens++ === 0) this.#first = this.#last;
  }

  /** Tokens, rate without the prompt's part, time to the first token, and where it ran. */
  summary(model: PreTrainedModel): string {
    const rate = this.#tokens > 1 ? ((this.#tokens - 1) / (this.#last - this.#first)) * 1000 : 0;
    const devices = [...new Set(Object.values(model.hf_device_map))].join(' + ');
    const first = this.#tokens === 0 ? 0 : this.#first - this.#started;
    return `${this.#tokens} tokens, ${rate.toFixed(1)} tokens/s, the first after ${first.toFixed(0)} ms, on ${devices} in ${model.dtype}`;
  }
}
