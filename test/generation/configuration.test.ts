import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { FileNotFoundError, InvalidArgumentError } from '../../lib/errors.js';
import { GenerationConfig } from '../../lib/generation/configuration.js';
import { generate } from '../../lib/generation/generate.js';
import {
  GENERATION_FIELDS,
  type GenerationFields,
} from '../../lib/generation/generation-fields.js';
import { nearestName } from '../../lib/nearest-name.js';
import { temporaryFolder } from '../temporary-folder.js';
import { hashModel } from './fake-engine.js';
import { collectWarnings, messageOf, rejection } from './support.js';

const warnings = collectWarnings();

describe('fields', () => {
  it('are those of the interface, each once', () => {
    expect(new Set(GENERATION_FIELDS).size).toBe(GENERATION_FIELDS.length);
    expect(Object.keys(new GenerationConfig())).toEqual([...GENERATION_FIELDS]);
  });

  it.each([
    ['temperatur', 'temperature'],
    ['repition_penalty', 'repetition_penalty'],
    ['topK', 'top_k'],
    ['stop_string', 'stop_strings'],
  ])('%s is unknown and names %s', (name, nearest) => {
    expect(nearestName(name, GENERATION_FIELDS)).toBe(nearest);
    expect(messageOf(() => new GenerationConfig({ [name]: 1 }))).toBe(
      `Unknown generation field \`${name}\`. Did you mean \`${nearest}\`?`,
    );
  });

  it('that only transformers has are refused by name, unless they change nothing', () => {
    expect(messageOf(() => new GenerationConfig({ penalty_alpha: 0.6 } as object))).toBe(
      '`penalty_alpha` is not supported. Leave it out; docs/generation.md lists what komt supports ' +
        'and why',
    );
    const neutral = { penalty_alpha: 0, num_beam_groups: 1, transformers_version: '5.18.0' };
    expect(new GenerationConfig(neutral as object).to_dict()).toEqual({});
  });

  it('that belong to the call are refused', () => {
    expect(messageOf(() => new GenerationConfig({ streamer: {} } as object))).toBe(
      'Argument `streamer` is not a valid argument of `GenerationConfig`. It should be passed to ' +
        '`generate()` (or a pipeline) directly.',
    );
  });

  it('are copied from the caller', () => {
    const eos_token_id = [2];
    const config = new GenerationConfig({ eos_token_id });
    eos_token_id.push(3);
    expect(config.eos_token_id).toEqual([2]);
  });

  it('are refused by generate when unknown', async () => {
    const options = { input_ids: [1], temperatur: 1 } as object;
    expect(await rejection(generate(hashModel(), options))).toBe(
      "The following `model_kwargs` are not used by the model: ['temperatur'] (note: typos in the " +
        'generate arguments will also show up in this list). Did you mean `temperature`?',
    );
  });
});

describe('values that cannot be meant', () => {
  it.each<[GenerationFields, string]>([
    [
      { early_stopping: 'always' as 'never' },
      "`early_stopping` must be a boolean or 'never', but is always.",
    ],
    [{ max_new_tokens: 0 }, '`max_new_tokens` must be greater than 0, but is 0.'],
    [{ max_new_tokens: 1.5 }, '`max_new_tokens` has to be an integer > 0, but is 1.5.'],
    [{ num_beams: 0 }, '`num_beams` has to be an integer > 0, but is 0.'],
    [
      { num_return_sequences: 2 },
      'Greedy methods (do_sample != true) without beam search do not support ' +
        '`num_return_sequences` different than 1 (got 2).',
    ],
    [
      { num_return_sequences: 4, num_beams: 3 },
      '`num_return_sequences` (4) has to be smaller or equal to `num_beams` (3).',
    ],
    [
      { forced_eos_token_id: [2, 3], suppress_tokens: [3, 2, 1] },
      'Every token in `forced_eos_token_id` ([2, 3]) is also in `suppress_tokens`. Forcing a ' +
        'token while suppressing it sets all logits to `-inf` at the forcing step, which produces ' +
        '`nan` probabilities and crashes generation. Remove the overlapping token(s) from either ' +
        '`forced_eos_token_id` or `suppress_tokens` (if you meant to prevent an early EOS token, ' +
        'use `min_new_tokens` instead).',
    ],
  ])('%j', (fields, text) => {
    expect(messageOf(() => new GenerationConfig(fields))).toBe(text);
    expect(() => new GenerationConfig(fields)).toThrow(InvalidArgumentError);
  });
});

describe('flags without effect', () => {
  const headline = (name: string): string =>
    `The following generation flags are not valid and may be ignored: ['${name}'].`;

  it.each<[string, GenerationFields]>([
    ['temperature', { temperature: 0.7 }],
    ['top_p', { top_p: 0.7 }],
    ['top_k', { top_k: 10 }],
    ['min_p', { min_p: 0.1 }],
    ['top_h', { top_h: 0.5 }],
    ['typical_p', { typical_p: 0.9 }],
    ['epsilon_cutoff', { epsilon_cutoff: 0.1 }],
    ['eta_cutoff', { eta_cutoff: 0.1 }],
    ['early_stopping', { early_stopping: true }],
    ['length_penalty', { length_penalty: 2 }],
    ['output_scores', { output_scores: true }],
    ['output_logits', { output_logits: true }],
    ['pad_token_id', { pad_token_id: -1 }],
  ])('%s warns, once', (name, fields) => {
    new GenerationConfig(fields);
    new GenerationConfig(fields);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]?.startsWith(`${headline(name)}\n- \`${name}\`: `)).toBe(true);
  });

  it('say why, in the words of transformers', () => {
    new GenerationConfig({ temperature: 0.7 });
    expect(warnings[0]?.split('\n')[1]).toBe(
      '- `temperature`: `do_sample` is not set to `true`. However, `temperature` is set to `0.7` ' +
        '-- this flag is only used in sample-based generation modes. You should set ' +
        '`do_sample: true` or unset `temperature`.',
    );
    new GenerationConfig({ output_scores: true });
    expect(warnings[1]?.split('\n')[1]).toBe(
      '- `output_scores`: `return_dict_in_generate` is NOT set to `true`, but `output_scores` is. ' +
        'When `return_dict_in_generate` is not `true`, `output_scores` is ignored.',
    );
  });

  it('are silent where they are off, and where only the mode is of the call', async () => {
    new GenerationConfig({ temperature: 1, top_k: 50, top_p: 1, length_penalty: 1 });
    const model = hashModel({ temperature: 0.7, top_p: 0.9, do_sample: true });
    await generate(model, { input_ids: [1], do_sample: false, max_new_tokens: 1 });
    expect(warnings).toEqual([]);
  });
});

describe('lengths', () => {
  it('warn where the minimum is beyond the maximum', async () => {
    const suffix =
      ' Generation will stop at the defined maximum length. You should decrease the minimum ' +
      'length and/or increase the maximum length.';
    await generate(hashModel(), { input_ids: [1, 5], max_length: 4, min_length: 5 });
    await generate(hashModel(), { input_ids: [1, 5], max_length: 4, min_new_tokens: 3 });
    expect(warnings).toEqual([
      'Unfeasible length constraints: `min_length` (5) is larger than the maximum possible ' +
        `length (4).${suffix}`,
      'Unfeasible length constraints: `min_new_tokens` (3), when added to the prompt length (2), ' +
        `is larger than the maximum possible length (4).${suffix}`,
    ]);
  });

  it('warn where min_length and min_new_tokens are both set', async () => {
    const options = { input_ids: [1, 5], max_length: 9, min_length: 3, min_new_tokens: 2 };
    await generate(hashModel(), options);
    expect(warnings[0]).toContain('Both `min_new_tokens` (=2) and `min_length`(=3) seem to have');
  });
});

describe('files', () => {
  const { path: folder } = temporaryFolder();

  it('come back as they were saved', async () => {
    const config = new GenerationConfig({
      do_sample: true,
      temperature: 0.9,
      sequence_bias: [[[7], 2.5]],
      eos_token_id: [2, 3],
    });
    const target = join(folder, 'saved', 'deep');
    await config.save_pretrained(target);
    expect(await readFile(join(target, 'generation_config.json'), 'utf8')).toBe(config.to_json());
    expect(await GenerationConfig.from_pretrained(target)).toEqual(config);
    const cooler = await GenerationConfig.from_pretrained(target, { temperature: 0.5 });
    expect(cooler.temperature).toBe(0.5);
    expect(cooler.eos_token_id).toEqual([2, 3]);
  });

  it('are not written for a configuration that would warn', async () => {
    const config = new GenerationConfig({ temperature: 0.7 });
    const text = await rejection(config.save_pretrained(folder));
    expect(text.startsWith('GenerationConfig is invalid: \n- `temperature`: ')).toBe(true);
    expect(text.endsWith('\n\nFix these issues to save the configuration.')).toBe(true);
    config.max_new_tokens = -1;
    expect(await rejection(config.save_pretrained(folder))).toBe(
      '`max_new_tokens` must be greater than 0, but is -1.\n\nFix these issues to save the ' +
        'configuration.',
    );
  });

  it('need a folder', async () => {
    const file = join(folder, 'file');
    await writeFile(file, '');
    expect(await rejection(new GenerationConfig().save_pretrained(file))).toBe(
      `Provided path (${file}) should be a directory, not a file`,
    );
    const missing = GenerationConfig.from_pretrained(join(folder, 'nowhere'));
    await expect(missing).rejects.toThrow(FileNotFoundError);
  });

  it('may hold what komt does not know; what had an effect warns', () => {
    const config = GenerationConfig.from_json(
      '{"temperature": 0.9, "do_sample": true, "dola_layers": "high", "transformers_version": "4"}',
      'there.json',
    );
    expect(config.to_dict()).toEqual({ temperature: 0.9, do_sample: true });
    expect(warnings).toEqual(['`dola_layers` in there.json is not supported and will be ignored.']);
  });

  it('must be JSON objects', () => {
    expect(messageOf(() => GenerationConfig.from_json('{', 'there.json'))).toMatch(
      /^It looks like the config file at 'there.json' is not a valid JSON file: found .*download it/,
    );
    expect(messageOf(() => GenerationConfig.from_json('[]', 'there.json'))).toBe(
      'Not a JSON object [there.json]',
    );
  });

  it('are named by a text', () => {
    const nameless = { toString: null, valueOf: null } as never;
    for (const json of ['', { unknown: 1 }]) {
      expect(messageOf(() => GenerationConfig.from_json(json, nameless))).toBe(
        "Expected a text such as the file's name for origin but received of type object",
      );
    }
  });

  it('of models give their generation fields', () => {
    const config = GenerationConfig.from_model_config({
      hidden_size: 8,
      eos_token_id: 2,
      output_scores: true,
    });
    expect(config.to_dict()).toEqual({
      eos_token_id: 2,
      output_scores: true,
      return_dict_in_generate: true,
    });
  });
});

describe('GenerationConfig as a value', () => {
  it('is written as JSON with sorted keys', () => {
    const config = new GenerationConfig({ top_k: 5, do_sample: true });
    expect(config.to_json()).toBe('{\n  "do_sample": true,\n  "top_k": 5\n}\n');
    expect(JSON.stringify({ config })).toBe('{"config":{"do_sample":true,"top_k":5}}');
  });

  it('holds lists as deep as its fields have them, and no deeper', () => {
    const cyclic: unknown[] = [];
    cyclic.push(cyclic);
    let shared: unknown[] = [1];
    for (let i = 0; i < 30; i++) shared = [shared, shared];
    for (const bad_words_ids of [cyclic, shared] as never[]) {
      const make = () => new GenerationConfig({ bad_words_ids });
      expect(make).toThrow('`bad_words_ids` has too many lists inside each other');
      expect(make).toThrow(InvalidArgumentError);
    }
    const sequence_bias = [[[7], 2.5]] as never;
    expect(new GenerationConfig({ sequence_bias }).to_dict()).toEqual({ sequence_bias });
  });

  it('says what JSON cannot hold', () => {
    const config = new GenerationConfig({ sequence_bias: [[[7], 1n]] as never });
    expect(() => config.to_json()).toThrow('holds a value that JSON cannot');
    expect(() => config.to_json()).toThrow(InvalidArgumentError);
  });

  it('is made of an object and of no array, a typed one included', () => {
    expect(() => new GenerationConfig(new Float32Array(2) as never)).toThrow(InvalidArgumentError);
  });

  it('can be updated, checked as a whole', () => {
    const config = new GenerationConfig({ do_sample: true, top_k: 5 });
    expect(config.update({ top_k: null, top_p: 0.5 }).to_dict()).toEqual({
      do_sample: true,
      top_p: 0.5,
    });
    expect(() => config.update({ max_new_tokens: 0 })).toThrow('must be greater than 0');
    expect(config.max_new_tokens).toBeNull();
  });
});
