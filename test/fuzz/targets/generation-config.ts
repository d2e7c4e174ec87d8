import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { GenerationConfig } from '../../../lib/generation/configuration.js';
import { setWarningHandler } from '../../../lib/warnings.js';
import { mutateJsonFile } from '../json-file.js';
import type { FuzzTarget } from '../target.js';

const SEEDS: readonly object[] = [
  { _from_model_config: true, bos_token_id: 1, eos_token_id: 2, pad_token_id: 0 },
  { bos_token_id: 1, eos_token_id: [2, 32000], do_sample: true, temperature: 0.6, top_p: 0.9 },
  {
    max_new_tokens: 100,
    min_new_tokens: 1,
    num_beams: 4,
    num_return_sequences: 2,
    length_penalty: 0.8,
    early_stopping: 'never',
    no_repeat_ngram_size: 3,
    repetition_penalty: 1.2,
    bad_words_ids: [[5], [6, 7]],
    suppress_tokens: [3],
    begin_suppress_tokens: [4],
    sequence_bias: [[[1, 2], -1.5]],
    transformers_version: '4.40.0',
  },
  {
    do_sample: true,
    top_k: 50,
    typical_p: 0.9,
    min_p: 0.1,
    epsilon_cutoff: 0.001,
    eta_cutoff: 0.001,
    exponential_decay_length_penalty: [10, 1.1],
    stop_strings: ['###', '\n\n'],
    guidance_scale: 1.5,
    prompt_lookup_num_tokens: 4,
    return_dict_in_generate: true,
    output_scores: true,
    use_cache: true,
  },
];

/** generation_config.json of a local folder, written back and read again. */
export const target: FuzzTarget = {
  name: 'generation-config',
  sources: ['lib/generation/configuration.ts', 'lib/generation/validation.ts'],
  minimumCoverage: 60,
  seeds: () => SEEDS.map((seed) => Buffer.from(JSON.stringify(seed))),
  mutate: mutateJsonFile,
  prepare() {
    setWarningHandler(() => {});
  },
  async run(input, folder) {
    writeFileSync(path.join(folder, 'generation_config.json'), input);
    const config = await GenerationConfig.from_pretrained(folder);
    const again = GenerationConfig.from_json(config.to_json());
    if (again.to_json() !== config.to_json()) {
      throw new Error(`Read back as ${again.to_json()}, written as ${config.to_json()}`);
    }
    await config.save_pretrained(path.join(folder, 'saved'));
  },
  planted: {
    file: 'lib/generation/generation-fields.ts',
    find: 'Object.hasOwn(NEUTRAL_FIELDS, name) ? NEUTRAL_FIELDS[name] : undefined',
    replace: 'NEUTRAL_FIELDS[name]',
  },
};
