import { type Command, InvalidArgumentError as InvalidOption, Option } from 'commander';
import type { DTypeOption, ModelOptions } from 'komt';

/** Options of every command that loads a model. */
export interface LoadFlags {
  model?: string;
  device: string;
  dtype: DTypeOption;
  threads?: number;
  revision?: string;
  cacheDir?: string;
  token?: string;
  localFilesOnly?: boolean;
  verbose?: boolean;
}

/** Options that shape the answer; absent ones leave it to the model's generation_config.json. */
export interface SamplingFlags {
  maxNewTokens?: number;
  greedy?: boolean;
  temperature?: number;
  topK?: number;
  topP?: number;
  repetitionPenalty?: number;
  seed?: number;
  stop?: string[];
}

function number(check: (n: number) => boolean, expected: string) {
  return (text: string): number => {
    const value = Number(text);
    if (text.trim() === '' || !check(value)) throw new InvalidOption(`Expected ${expected}.`);
    return value;
  };
}
const positiveInteger = number((n) => Number.isInteger(n) && n > 0, 'a positive integer');
const nonNegativeInteger = number((n) => Number.isInteger(n) && n >= 0, 'a non-negative integer');
const positive = number((n) => n > 0, 'a number above 0');
const probability = number((n) => n >= 0 && n <= 1, 'a number between 0 and 1');

export function addLoadOptions(command: Command): Command {
  return command
    .option(
      '-m, --model <dir|id>',
      'folder with a Hugging Face checkpoint, or a Hub id (default: the demonstration model komt-tiny)',
    )
    .option('--device <name>', 'auto, cpu, cuda or cuda:N', 'auto')
    .addOption(
      new Option('--dtype <type>', 'type of the matrices')
        .choices(['auto', 'float32', 'float16', 'bfloat16'])
        .default('auto'),
    )
    .option('--threads <n>', 'CPU threads (default: one per core)', positiveInteger)
    .option('--revision <name>', 'branch, tag or commit on the Hub')
    .option('--cache-dir <dir>', 'cache of downloads (default: that of Hugging Face, HF_HUB_CACHE)')
    .option('--token <token>', 'access token for the Hub (default: HF_TOKEN)')
    .option('--local-files-only', 'never use the network')
    .option('--verbose', 'show stack traces and where time goes');
}

export function addSamplingOptions(command: Command): Command {
  return command
    .option('-n, --max-new-tokens <n>', 'longest answer, in tokens', positiveInteger)
    .option('--greedy', 'always take the most probable token')
    .option('--temperature <t>', 'sample with this temperature', positive)
    .option('--top-k <k>', 'sample among the k most probable tokens; 0 = all', nonNegativeInteger)
    .option('--top-p <p>', 'sample among the most probable tokens that make up p', probability)
    .option('--repetition-penalty <r>', 'above 1: repeat less', positive)
    .option('--seed <n>', 'same seed, same text', nonNegativeInteger)
    .option('--stop <text...>', 'end the answer at any of these texts');
}

/** The flags as options of from_pretrained. */
export function loadOptions(flags: LoadFlags): ModelOptions {
  return {
    device_map: flags.device,
    dtype: flags.dtype,
    num_threads: flags.threads,
    revision: flags.revision,
    cache_dir: flags.cacheDir,
    token: flags.token,
    local_files_only: flags.localFilesOnly,
  };
}

/** The flags as options of generate; what was not said is left to the model. */
export function samplingOptions(flags: SamplingFlags): Record<string, unknown> {
  const sampling =
    flags.temperature !== undefined || flags.topK !== undefined || flags.topP !== undefined;
  const options: Record<string, unknown> = {
    max_new_tokens: flags.maxNewTokens,
    do_sample: flags.greedy ? false : sampling ? true : undefined,
    temperature: flags.temperature,
    top_k: flags.topK,
    top_p: flags.topP,
    repetition_penalty: flags.repetitionPenalty,
    seed: flags.seed,
    stop_strings: flags.stop,
  };
  // Absent, not undefined: null and undefined mean something of their own to generate().
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}
