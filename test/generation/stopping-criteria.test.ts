import { describe, expect, it } from 'vitest';
import { generate } from '../../lib/generation/generate.js';
import { StopStringCriteria } from '../../lib/generation/stop-strings.js';
import {
  ConfidenceCriteria,
  EosTokenCriteria,
  MaxLengthCriteria,
  MaxTimeCriteria,
  StoppingCriteria,
  StoppingCriteriaList,
  toStoppingCriteriaList,
} from '../../lib/generation/stopping-criteria.js';
import { Tensor } from '../../lib/tensor.js';
import { hashModel } from './fake-engine.js';
import { byteFallbackTokenizer, byteLevelTokenizer, plainTokenizer } from './fake-tokenizer.js';
import { collectWarnings, messageOf, rejection } from './support.js';

const warnings = collectWarnings();

describe('built-in criteria', () => {
  it('MaxLength ends at the length, and reminds of the model’s own', () => {
    const criterion = new MaxLengthCriteria(4, 2);
    expect(criterion([[1, 2]], null)).toBe(false);
    expect(warnings).toEqual([]);
    expect(criterion([[1, 2, 3]], null)).toBe(false);
    expect(criterion([[1, 2, 3, 4]], null)).toBe(true);
    expect(warnings).toEqual([
      "This is a friendly reminder - the current text generation call has exceeded the model's " +
        'predefined maximum length (2). Depending on the model, you may observe exceptions, ' +
        'performance degradation, or nothing at all.',
    ]);
  });

  it('MaxTime ends after the time', () => {
    const now = Date.now() / 1000;
    expect(new MaxTimeCriteria(5, now - 6)([[1]], null)).toBe(true);
    expect(new MaxTimeCriteria(5, now - 4)([[1]], null)).toBe(false);
    expect(new MaxTimeCriteria(5).initial_timestamp).toBeCloseTo(now, 0);
  });

  it('EosToken ends rows at one of its tokens', () => {
    expect(
      new EosTokenCriteria([2, 3])(
        [
          [1, 2],
          [2, 1],
          [1, 3],
        ],
        null,
      ),
    ).toEqual([true, false, true]);
    expect(new EosTokenCriteria(2)([[1, 2]], null)).toEqual([true]);
  });

  it('Confidence ends at an improbable token', () => {
    const scores = [new Tensor('float32', Float32Array.of(0, Math.log(3)), [1, 2])];
    expect(new ConfidenceCriteria(0.3)([[0]], scores)).toBe(true);
    expect(new ConfidenceCriteria(0.3)([[1]], scores)).toBe(false);
    expect(messageOf(() => new ConfidenceCriteria(0.3)([[1]], null))).toBe(
      'ConfidenceCriteria needs the scores. Set `return_dict_in_generate: true` and ' +
        '`output_scores: true`',
    );
  });
});

describe('StoppingCriteriaList', () => {
  it('ORs booleans, lists and promises row by row', async () => {
    const list = new StoppingCriteriaList([() => false, () => [true, false]]);
    expect(list([[1], [2]], null)).toEqual([true, false]);
    list.push(async () => [false, true]);
    expect(await list([[1], [2]], null)).toEqual([true, true]);
  });

  it('knows its max_length', () => {
    const list = new StoppingCriteriaList([() => false]);
    expect(list.max_length).toBeNull();
    list.extend([new MaxLengthCriteria(7)]);
    expect(list.max_length).toBe(7);
  });

  it('accepts a criterion, a function, an array or a list', () => {
    const one = new MaxLengthCriteria(3);
    expect([...toStoppingCriteriaList(one)]).toEqual([one]);
    expect(toStoppingCriteriaList(() => true).length).toBe(1);
    expect(toStoppingCriteriaList([one, () => true]).length).toBe(2);
    const list = new StoppingCriteriaList([one]);
    expect(toStoppingCriteriaList(list)).toBe(list);
    expect(toStoppingCriteriaList(null).length).toBe(0);
    expect(messageOf(() => toStoppingCriteriaList('stop' as never))).toBe(
      'Expected StoppingCriteria instances or functions for stopping_criteria but received s of ' +
        'type string',
    );
  });

  it('refuses an answer of the wrong length', () => {
    expect(messageOf(() => new StoppingCriteriaList([() => [true]])([[1], [2]], null))).toBe(
      'Expected a boolean or 2 booleans for the answer of a stopping criterion but received 1 of ' +
        'type number',
    );
  });
});

describe('criteria during generation', () => {
  const input_ids = [[1, 5]];

  it.each([true, false])('may be asynchronous (native: %s)', async (native) => {
    class Later extends StoppingCriteria {
      async _call(ids: number[][]): Promise<boolean> {
        const { length } = ids[0] as number[];
        await new Promise((resolve) => setTimeout(resolve, 1));
        return length >= 6;
      }
    }
    const ids = await generate(hashModel({}), {
      input_ids,
      max_new_tokens: 20,
      stopping_criteria: new Later(),
      logits_processor: native ? [] : [(_, scores) => scores],
    });
    expect(ids.dims).toEqual([1, 6]);
  });

  it('end after max_time', async () => {
    const model = hashModel({});
    const ids = await generate(model, {
      input_ids,
      max_new_tokens: 500,
      max_time: 0.02,
      stopping_criteria: async () => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        return false;
      },
    });
    expect(ids.dims[1]).toBeGreaterThan(2);
    expect(ids.dims[1]).toBeLessThan(60);
  });

  it.each([true, false])('that throw reject with their error (native: %s)', async (native) => {
    const model = hashModel({});
    const error = new TypeError('mine');
    const call = generate(model, {
      input_ids,
      max_new_tokens: 20,
      stopping_criteria: () => {
        throw error;
      },
      logits_processor: native ? [] : [(_, scores) => scores],
    });
    await expect(call).rejects.toBe(error);
    expect(model.session.disposed).toBe(true);
  });
});

describe('StopStringCriteria', () => {
  // The examples of transformers' documentation for the stop string "stop".
  const tokens = ['st', 'op', 'stop', 'opera', 'sto', 'pper', 'las', 'topper', 's', 'to', 'pped'];
  const plain = plainTokenizer([...tokens, 'at', 'tion', 'x']);
  const ids = (...list: string[]): number[] => list.map((token) => plain.id(token));

  it.each([
    [['st', 'op']],
    [['stop']],
    [['st', 'opera']],
    [['sto', 'pper']],
    [['las', 'topper']],
    [['s', 'to', 'pped']],
  ])('%j holds "stop"', (list) => {
    expect(new StopStringCriteria(plain, 'stop')([ids(...list)], null)).toEqual([true]);
  });

  it.each([
    [['stop', 'at']],
    [['st', 'op', 'at']],
    [['st', 'opera', 'tion']],
    [['st', 'x', 'op']],
    [['op']],
  ])('%j does not end with it', (list) => {
    expect(new StopStringCriteria(plain, 'stop')([ids(...list)], null)).toEqual([false]);
  });

  it('answers row by row for several strings', () => {
    const criterion = new StopStringCriteria(plain, ['stop', 'at']);
    expect(criterion([ids('x', 'at'), ids('x', 'x'), ids('s', 'topper')], null)).toEqual([
      true,
      false,
      true,
    ]);
  });

  it('does not match through an id that is no token', () => {
    const criterion = new StopStringCriteria(plain, 'stop');
    expect(criterion([[plain.id('st'), 9999, plain.id('op')]], null)).toEqual([false]);
    expect(criterion([[plain.id('stop'), 9999]], null)).toEqual([false]);
  });

  it('matches bytes in byte-level vocabularies', () => {
    const tokenizer = byteLevelTokenizer([' 예', '예']);
    const bytes = Buffer.from('예');
    const [x, y, z] = [...bytes].map((byte) => tokenizer.token(Uint8Array.of(byte)));
    const criterion = new StopStringCriteria(tokenizer, '예');
    expect(criterion([[x, y, z] as number[]], null)).toEqual([true]);
    expect(criterion([[x, z, y] as number[]], null)).toEqual([false]);
    expect(criterion([[tokenizer.token(' 예')]], null)).toEqual([true]);
  });

  it('sees a string begun by bytes and ended by a token', () => {
    const tokenizer = byteFallbackTokenizer(['요.', '아']);
    const criterion = new StopStringCriteria(tokenizer, '네요.');
    const ne = [...Buffer.from('네')].map((byte) => tokenizer.byteId(byte));
    expect(criterion([[...ne, tokenizer.id('요.')]], null)).toEqual([true]);
    expect(criterion([[tokenizer.id('아'), tokenizer.id('요.')]], null)).toEqual([false]);
  });

  it('refuses what cannot be matched', async () => {
    expect(messageOf(() => new StopStringCriteria(plain, ['ZZ']))).toBe(
      'Stop string preprocessing was unable to identify tokens matching one or more of the ' +
        'supplied stop string(s). This is most often caused by the stop strings containing ' +
        'unusual characters that are not in the tokenizer vocabulary. (stop_strings)',
    );
    const empty = { input_ids: [1], stop_strings: [''], tokenizer: plain };
    expect(await rejection(generate(hashModel(), empty))).toBe(
      '`stop_strings` has to be a non-empty string or a list of them: found [""]',
    );
  });
});
