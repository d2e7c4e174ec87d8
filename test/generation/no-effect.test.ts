import { afterEach, beforeEach, expect, it } from 'vitest';
import { resolveConfig } from '../../lib/generation/resolve.js';
import { resetWarnings, setWarningHandler } from '../../lib/warnings.js';

let warnings: string[];
beforeEach(() => {
  warnings = [];
  resetWarnings();
  setWarningHandler((message) => warnings.push(message));
});
afterEach(() => {
  setWarningHandler(null);
});

it.each([
  ['num_assistant_tokens', 5, /draft models.*prompt_lookup_num_tokens/],
  ['assistant_confidence_threshold', 0.2, /draft models/],
  ['cache_implementation', 'static', /cache/],
  ['low_memory', true, /paged/],
  ['compile_config', {}, /own/],
])('%s warns, once, that it has no effect', (name, value, reason) => {
  resolveConfig({ [name]: value }, {});
  resolveConfig({ [name]: value }, {});
  expect(warnings).toEqual([expect.stringContaining(`\`${name}\` has no effect here`)]);
  expect(warnings[0]).toMatch(reason);
});

it('what files say of themselves, and null, go without a word', () => {
  resolveConfig(
    {
      transformers_version: '5.18.0',
      _from_model_config: true,
      cache_implementation: null,
    } as never,
    { cache_implementation: 'static' } as never,
  );
  expect(warnings).toEqual([]);
});

it('an end token below zero is none, and warns as transformers does', () => {
  expect(resolveConfig({ eos_token_id: [2, -1] }, {}).config.eos).toEqual([2]);
  expect(warnings).toEqual([
    expect.stringContaining('`eos_token_id` should consist of positive integers, but is [2,'),
  ]);
});
