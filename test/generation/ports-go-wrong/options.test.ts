/** Where ports of transformers' generation go wrong, 1 and 2: options. */

import { describe, expect, it } from 'vitest';
import { GenerationConfig } from '../../../lib/generation/configuration.js';
import { generate } from '../../../lib/generation/generate.js';
import { get_logits_processor } from '../../../lib/generation/logits-processor-list.js';
import { hashModel } from '../fake-engine.js';
import { collectWarnings, messageOf, rejection } from '../support.js';

const warnings = collectWarnings();
const input_ids = [[1, 5, 9]];

describe('1. unset is null, and who wins over whom', () => {
  it('leaves every field null', () => {
    const config = new GenerationConfig();
    expect(new Set(Object.values(config))).toEqual(new Set([null]));
  });

  it('samples with top_k 50 for { do_sample: true } alone', async () => {
    const list = get_logits_processor({ do_sample: true }, { input_ids_seq_length: 3 });
    expect([...list].map((p) => p.constructor.name)).toEqual(['TopKLogitsWarper']);
    const model = hashModel();
    await generate(model, { input_ids, do_sample: true, max_new_tokens: 1 });
    expect(model.session.requests[0]?.sampling).toEqual({
      do_sample: true,
      temperature: 1,
      top_k: 50,
      top_p: 1,
      min_p: 0,
      typical_p: 1,
      repetition_penalty: 1,
      min_new_tokens: 0,
    });
  });

  it("puts the call's fields over generation_config over the model's over the defaults", async () => {
    const model = hashModel({ eos_token_id: 2, do_sample: true, top_k: 7, top_p: 0.7, min_p: 0.1 });
    await generate(model, {
      input_ids,
      max_new_tokens: 1,
      generation_config: { top_k: 8, top_p: 0.8 },
      top_k: 9,
    });
    expect(model.session.requests[0]?.sampling).toMatchObject({
      top_k: 9,
      top_p: 0.8,
      min_p: 0.1,
      temperature: 1,
    });
  });

  it("fills only nulls from the model's configuration", async () => {
    const model = hashModel({ eos_token_id: 2, do_sample: true, temperature: 0.5 });
    const generation_config = new GenerationConfig({ temperature: null, max_new_tokens: 1 });
    await generate(model, { input_ids, generation_config });
    expect(model.session.requests[0]?.sampling.temperature).toBe(0.5);
  });

  it('switches a field off that is null in the call', async () => {
    const model = hashModel({ eos_token_id: 2, do_sample: true, top_k: 7 });
    await generate(model, { input_ids, max_new_tokens: 4, top_k: null, eos_token_id: null });
    expect(model.session.requests[0]).toMatchObject({ eos_token_ids: [], sampling: { top_k: 0 } });
  });
});

describe('2. conflicts of options', () => {
  it('takes the field beside a configuration, with one warning', async () => {
    const generation_config = new GenerationConfig({ max_new_tokens: 3, eos_token_id: 31 });
    const model = hashModel({});
    const options = { input_ids, generation_config, max_new_tokens: 5 };
    expect((await generate(model, options)).dims).toEqual([1, 8]);
    await generate(model, options);
    expect(warnings).toEqual([
      "Passing `generation_config` together with generation-related arguments=({'max_new_tokens'}) " +
        'is deprecated and will be removed in future versions. Please pass either a ' +
        '`generation_config` object OR all generation parameters explicitly, but not both.',
    ]);
  });

  it('ignores early_stopping without beams, with one warning', async () => {
    const generation_config = new GenerationConfig({ early_stopping: true, max_new_tokens: 2 });
    await generate(hashModel({}), { input_ids, generation_config });
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toBe(
      "The following generation flags are not valid and may be ignored: ['early_stopping'].\n" +
        '- `early_stopping`: `num_beams` is set to 1. However, `early_stopping` is set to `true` ' +
        '-- this flag is only used in beam-based generation modes. You should set `num_beams > 1` ' +
        "or unset `early_stopping`.\nIf you're using a pretrained model, note that some of these " +
        "attributes may be set through the model's `generation_config.json` file.",
    );
  });

  it('lets max_new_tokens win over max_length, with a warning', async () => {
    const ids = await generate(hashModel({}), { input_ids, max_length: 9, max_new_tokens: 2 });
    expect(ids.dims).toEqual([1, 5]);
    expect(warnings).toEqual([
      'Both `max_new_tokens` (=2) and `max_length`(=9) seem to have been set. `max_new_tokens` ' +
        'will take precedence. Please refer to the documentation for more information. ' +
        '(https://huggingface.co/docs/transformers/main/en/main_classes/text_generation)',
    ]);
  });

  it('generates 20 new tokens where neither is set', async () => {
    expect((await generate(hashModel({}), { input_ids })).dims).toEqual([1, 23]);
    expect(warnings).toEqual([
      'Using the model-agnostic default `max_length` (=23) to control the generation length. We ' +
        'recommend setting `max_new_tokens` to control the maximum length of the generation.',
    ]);
  });

  it('refuses a prompt as long as max_length', async () => {
    expect(await rejection(generate(hashModel(), { input_ids, max_length: 3 }))).toBe(
      'Input length of input_ids is 3, but `max_length` is set to 3. This can lead to unexpected ' +
        'behavior. You should consider increasing `max_length` or, better yet, setting ' +
        '`max_new_tokens`.',
    );
  });

  it.each([0, -4])('refuses max_new_tokens %i', async (max_new_tokens) => {
    const text = `\`max_new_tokens\` must be greater than 0, but is ${max_new_tokens}.`;
    expect(messageOf(() => new GenerationConfig({ max_new_tokens }))).toBe(text);
    expect(await rejection(generate(hashModel(), { input_ids, max_new_tokens }))).toBe(text);
  });

  it('refuses temperature 0 and says do_sample: false', async () => {
    const options = { input_ids, do_sample: true, temperature: 0 };
    expect(await rejection(generate(hashModel(), options))).toBe(
      '`temperature` (=0) has to be a strictly positive float, otherwise your next token scores ' +
        "will be invalid. If you're looking for greedy decoding strategies, set " +
        '`do_sample: false`.',
    );
  });

  it('refuses several return sequences from greedy decoding, or more than beams', async () => {
    expect(await rejection(generate(hashModel(), { input_ids, num_return_sequences: 2 }))).toBe(
      'Greedy methods (do_sample != true) without beam search do not support ' +
        '`num_return_sequences` different than 1 (got 2).',
    );
    const beams = { input_ids, num_beams: 2, num_return_sequences: 3 };
    expect(await rejection(generate(hashModel(), beams))).toBe(
      '`num_return_sequences` (3) has to be smaller or equal to `num_beams` (2).',
    );
  });
});
