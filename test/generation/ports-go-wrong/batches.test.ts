/** Where ports of transformers' generation go wrong, 6 and 7: batches. */

import { describe, expect, it } from 'vitest';
import { generate } from '../../../lib/generation/generate.js';
import { FakeModel, hashModel } from '../fake-engine.js';
import { collectWarnings, rowsOf } from '../support.js';

const warnings = collectWarnings();

describe('6. end tokens and padding of finished rows', () => {
  // Rows that begin with 5 end after one token, the others after three.
  const logitsOf = (ids: readonly number[]): Float32Array => {
    const logits = new Float32Array(10);
    logits[ids[0] === 5 ? 7 : ids.length === 4 ? 8 : 3] = 1;
    return logits;
  };
  const prompts = [
    [5, 6],
    [4, 6],
  ];
  const options = { input_ids: prompts, attention_mask: prompts.map(() => [1, 1]) };

  it('takes one id or a list', async () => {
    const one = { ...options, max_new_tokens: 4, eos_token_id: 7 };
    expect(rowsOf(await generate(new FakeModel(logitsOf, { vocab_size: 10 }), one))).toEqual([
      [5, 6, 7, 7, 7, 7],
      [4, 6, 3, 3, 8, 3],
    ]);
    const list = { ...options, max_new_tokens: 4, eos_token_id: [8, 7] };
    expect(rowsOf(await generate(new FakeModel(logitsOf, { vocab_size: 10 }), list))).toEqual([
      [5, 6, 7, 8, 8],
      [4, 6, 3, 3, 8],
    ]);
  });

  it.each([true, false])('fills with pad while others go on (native: %s)', async (native) => {
    const model = new FakeModel(logitsOf, { vocab_size: 10 });
    const rows = rowsOf(
      await generate(model, {
        ...options,
        max_new_tokens: 4,
        eos_token_id: [8, 7],
        pad_token_id: 0,
        logits_processor: native ? [] : [(_, scores) => scores],
      }),
    );
    expect(rows).toEqual([
      [5, 6, 7, 0, 0],
      [4, 6, 3, 3, 8],
    ]);
    expect(model.session.calls.decode).toBe(native ? 1 : 0);
  });
});

describe('7. attention masks', () => {
  const padded = [
    [0, 0, 1, 7],
    [1, 3, 8, 4],
  ];
  const pad = { pad_token_id: 0, eos_token_id: 2, max_new_tokens: 6 };

  it('infers the mask from padding that is no end token', async () => {
    const alone = rowsOf(await generate(hashModel(), { input_ids: [[1, 7]], ...pad }))[0];
    const rows = rowsOf(await generate(hashModel(), { input_ids: padded, ...pad }));
    expect(rows[0]?.slice(2, 2 + (alone?.length ?? 0))).toEqual(alone);
  });

  it('takes everything for text where padding is an end token, and says so', async () => {
    const model = hashModel();
    await generate(model, { input_ids: padded, ...pad, eos_token_id: 0 });
    expect(model.session.requests[0]?.rows.map((row) => [...row.tokens])).toEqual(padded);
    expect(warnings).toEqual([
      'The attention mask is not set with a batched input, and cannot be inferred from input ' +
        'because pad token is same as eos token. As a consequence, you may observe unexpected ' +
        "behavior. Please pass your input's `attention_mask` to obtain reliable results.",
    ]);
  });

  it('warns about a batch with neither mask nor padding token', async () => {
    await generate(hashModel(), { input_ids: padded, max_new_tokens: 2 });
    expect(warnings[0]).toBe(
      'The attention mask and the pad token id were not set, with a batched input. As a ' +
        "consequence, you may observe unexpected behavior. Please pass your input's " +
        '`attention_mask` to obtain reliable results.',
    );
  });

  it.each([
    ['greedy', {}],
    ['with penalties', { repetition_penalty: 1.5, no_repeat_ngram_size: 2 }],
    ['sampled', { do_sample: true, seed: 5, repetition_penalty: 1.5 }],
  ])('answers a left-padded row as alone: %s', async (_, more) => {
    const attention_mask = [
      [0, 0, 1, 1],
      [1, 1, 1, 1],
    ];
    const options = { max_new_tokens: 8, pad_token_id: 0, ...more };
    const batch = rowsOf(
      await generate(hashModel({}), { input_ids: padded, attention_mask, ...options }),
    );
    for (const [r, prompt] of [
      [1, 7],
      [1, 3, 8, 4],
    ].entries()) {
      const [alone] = rowsOf(await generate(hashModel({}), { input_ids: [prompt], ...options }));
      expect(batch[r]?.slice(4)).toEqual(alone?.slice(prompt.length));
    }
  });

  it('warns about right padding with more than one row', async () => {
    const text =
      'A decoder-only architecture is being used, but right-padding was detected! For correct ' +
      "generation results, please set `padding_side='left'` when initializing the tokenizer.";
    const right = [
      [1, 7, 0, 0],
      [1, 3, 8, 4],
    ];
    await generate(hashModel(), { input_ids: right, ...pad });
    expect(warnings).toEqual([text]);
    warnings.length = 0;
    await generate(hashModel(), { input_ids: right.slice(0, 1), ...pad });
    expect(warnings).toEqual([]);
  });
});
