import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  type PreTrainedModel,
  type Tensor,
} from '../../lib/index.js';

/**
 * What transformers 5.18 answers in float32, case by case, through the public surface. The models are
 * tiny and random; stories260k, a trained one, may not be copied and is used where it is.
 */
interface Case {
  kind: string;
  input_ids: number[] & number[][];
  attention_mask: number[][];
  generate: Record<string, unknown>;
  sequence: number[];
  sequences: number[][];
  sequences_scores: number[];
  decoded?: string;
  first: number[];
  last: number[];
  context: number[];
  continuation: number[];
  sum: number;
  greedy: boolean;
}

const own = path.join(import.meta.dirname, '../fixtures/goldens');
const shared = path.resolve(import.meta.dirname, '../../../shared/goldens');
const suites = (
  JSON.parse(readFileSync(path.join(own, 'index.json'), 'utf8')).cases as string[]
).map((name) => ({ name, root: own }));
if (existsSync(path.join(shared, 'stories260k-hf.json'))) {
  suites.push({ name: 'stories260k-hf', root: shared });
} else {
  console.warn('skipped: the goldens of stories260k-hf, which are not part of this repository');
}

const distance = (actual: ArrayLike<number>, expected: number[]) =>
  Math.max(...expected.map((x, i) => Math.abs(x - (actual[i] as number))));

describe.each(suites)('$name answers as transformers does', ({ name, root }) => {
  const cases: Case[] = JSON.parse(readFileSync(path.join(root, `${name}.json`), 'utf8'));
  const folder = path.join(root, 'models', name);
  let model: PreTrainedModel;
  beforeAll(async () => {
    model = await AutoModelForCausalLM.from_pretrained(folder, { device_map: 'cpu' });
  });
  afterAll(() => model.dispose());

  async function check(golden: Case): Promise<void> {
    const { kind, input_ids, generate } = golden;
    if (kind === 'logits') {
      const { logits } = await model.forward({ input_ids: [input_ids] });
      const rows = logits[0] as Tensor;
      expect(distance((rows.at(0) as Tensor).data as Float32Array, golden.first)).toBeLessThan(
        2e-4,
      );
      expect(distance((rows.at(-1) as Tensor).data as Float32Array, golden.last)).toBeLessThan(
        2e-4,
      );
    } else if (kind === 'loglikelihood') {
      const { context, continuation } = golden;
      const [answer] = await model.loglikelihood([{ context, continuation }]);
      expect(Math.abs((answer?.sum ?? Number.NaN) - golden.sum)).toBeLessThan(4e-3);
      expect(answer?.greedy).toBe(golden.greedy);
    } else if (kind === 'beam') {
      const result = await model.generate({
        input_ids: [input_ids],
        ...generate,
        return_dict_in_generate: true,
        output_scores: true,
      });
      expect(result.sequences.tolist()).toEqual(golden.sequences);
      const scores = result.sequences_scores?.tolist() as number[];
      expect(distance(scores, golden.sequences_scores)).toBeLessThan(1e-3);
    } else if (kind === 'padded-batch') {
      const { attention_mask } = golden;
      const ids = await model.generate({ input_ids, attention_mask, ...generate });
      expect(ids.tolist()).toEqual(golden.sequences);
    } else {
      const tokenizer =
        kind === 'stop-strings' ? await AutoTokenizer.from_pretrained(folder) : undefined;
      const ids = (
        await model.generate({ input_ids: [input_ids], ...generate, tokenizer })
      ).tolist();
      expect(ids).toEqual([golden.sequence]);
      if (golden.decoded !== undefined) {
        const decoder = tokenizer ?? (await AutoTokenizer.from_pretrained(folder));
        expect(decoder.decode(golden.sequence, { skip_special_tokens: true })).toBe(golden.decoded);
      }
    }
  }

  // In the order of the file: dynamic rotary scaling remembers the longest batch, as it does there.
  it.each(cases.map((golden, i) => [i, golden.kind, golden] as const))(
    '%i %s',
    async (_i, _kind, golden) => {
      await check(golden);
    },
  );
});
