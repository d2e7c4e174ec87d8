/** Where ports of transformers' generation go wrong, 8 and 9: stopping. */

import { describe, expect, it } from 'vitest';
import { generate } from '../../../lib/generation/generate.js';
import { StopStringCriteria } from '../../../lib/generation/stop-strings.js';
import {
  StoppingCriteria,
  StoppingCriteriaList,
} from '../../../lib/generation/stopping-criteria.js';
import { FakeModel, hashModel, scriptedLogits } from '../fake-engine.js';
import { byteFallbackTokenizer } from '../fake-tokenizer.js';
import { collectWarnings, rejection, rowsOf } from '../support.js';

collectWarnings();
const input_ids = [[1, 5, 9]];

describe('8. stopping criteria', () => {
  const prompts = [
    [1, 5],
    [1, 6],
  ];
  const options = { input_ids: prompts, attention_mask: prompts.map(() => [1, 1]) };

  it.each([true, false])('see full ids after each append (native: %s)', async (native) => {
    const seen: number[][][] = [];
    const rows = rowsOf(
      await generate(hashModel({}), {
        ...options,
        max_new_tokens: 3,
        stopping_criteria: (ids, scores) => {
          seen.push(ids.map((row) => [...row]));
          expect(scores).toBeNull();
          return false;
        },
        logits_processor: native ? [] : [(_, scores) => scores],
      }),
    );
    expect(seen).toEqual([3, 4, 5].map((length) => rows.map((row) => row.slice(0, length))));
  });

  it.each([true, false])('are OR-ed row by row (native: %s)', async (native) => {
    class First extends StoppingCriteria {
      _call(ids: number[][]): boolean[] {
        return ids.map((row, r) => r === 0 && row.length >= 4);
      }
    }
    const rows = rowsOf(
      await generate(hashModel({ pad_token_id: 0 }), {
        ...options,
        max_new_tokens: 9,
        stopping_criteria: new StoppingCriteriaList([
          new First(),
          (ids) => ids.map((row, r) => r === 1 && row.length >= 6),
        ]),
        logits_processor: native ? [] : [(_, scores) => scores],
      }),
    );
    expect(rows.map((row) => row.length)).toEqual([6, 6]);
    expect(rows[0]?.slice(4)).toEqual([0, 0]);
  });

  it('get the scores with return_dict_in_generate and output_scores only', async () => {
    const seen: unknown[] = [];
    const look = (
      _: number[][],
      scores: readonly { dims: readonly number[] }[] | null,
    ): boolean => {
      seen.push(scores?.map((step) => step.dims) ?? null);
      return false;
    };
    const base = { ...options, max_new_tokens: 2, stopping_criteria: look };
    await generate(hashModel({}), { ...base, output_scores: true });
    await generate(hashModel({}), { ...base, return_dict_in_generate: true });
    await generate(hashModel({}), { ...base, return_dict_in_generate: true, output_scores: true });
    expect(seen).toEqual([
      null,
      null,
      null,
      null,
      [[2, 32]],
      [
        [2, 32],
        [2, 32],
      ],
    ]);
  });
});

describe('9. stop strings', () => {
  it('need the tokenizer', async () => {
    expect(await rejection(generate(hashModel(), { input_ids, stop_strings: '###' }))).toBe(
      'There are one or more stop strings, either in the arguments to `generate` or in the ' +
        "model's generation config, but we could not locate a tokenizer. When generating with " +
        "stop strings, you must pass the model's tokenizer to the `tokenizer` argument of " +
        '`generate`.',
    );
  });

  it('match text whatever its tokens, and stay in the output', async () => {
    const tokenizer = byteFallbackTokenizer(['###', '##', '#', '\n', 'a', ' b']);
    const ids = (...tokens: string[]): number[] => tokens.map((t) => tokenizer.id(t));
    const criterion = new StopStringCriteria(tokenizer, '###');
    expect(criterion([ids('a', '###')], null)).toEqual([true]);
    expect(criterion([ids('\n', '##', '#')], null)).toEqual([true]);
    expect(criterion([ids('a', '##', ' b')], null)).toEqual([false]);

    const vocab_size = tokenizer.size;
    const prompt = ids('a');
    const model = new FakeModel(scriptedLogits(vocab_size, 1, ids('\n', '##', '#', 'a')), {
      vocab_size,
    });
    const out = await generate(model, {
      input_ids: prompt,
      stop_strings: ['###'],
      tokenizer,
      max_new_tokens: 9,
    });
    expect(rowsOf(out)).toEqual([ids('a', '\n', '##', '#')]);
  });

  it('match the bytes of a syllable that is three tokens', () => {
    const tokenizer = byteFallbackTokenizer(['a']);
    const criterion = new StopStringCriteria(tokenizer, '예');
    const [x, y, z] = [...Buffer.from('예')].map((byte) => tokenizer.byteId(byte));
    const a = tokenizer.id('a');
    expect(criterion([[a, x, y] as number[]], null)).toEqual([false]);
    expect(criterion([[a, x, y, z] as number[]], null)).toEqual([true]);
    expect(criterion([[a, x, y, z, a] as number[]], null)).toEqual([false]);
  });
});
