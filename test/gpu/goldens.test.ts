import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, it } from 'vitest';
import { AutoModelForCausalLM, type PreTrainedModel, type Tensor } from '../../lib/index.js';
import { DEVICE, describeOnGpu } from './device.js';

/**
 * transformers' float32 answers from a GPU that computes in 16 bits: logits lie within the error, and a
 * case whose winner always led by more than it comes out token for token. bfloat16 has eight times the
 * rounding of float16, of weights too (0.166 is the most that the emulated device has shown), and fewer
 * cases that it can be held to.
 */
const ERROR = { float16: 0.02, bfloat16: 0.25 };

const goldens = path.resolve(import.meta.dirname, '../fixtures/goldens');
const read = (name: string) => JSON.parse(readFileSync(path.join(goldens, name), 'utf8'));
const models: string[] = read('index.json').cases;

interface Case {
  kind: string;
  input_ids: number[];
  generate: Record<string, unknown>;
  sequence: number[];
  min_margin?: number;
  first: number[];
  last: number[];
}

const distance = (actual: Tensor | number | undefined, expected: number[]) => {
  const data = (actual as Tensor).data as Float32Array;
  return Math.max(...expected.map((x, i) => Math.abs(x - (data[i] as number))));
};

async function withModel(
  name: string,
  options: Record<string, unknown>,
  body: (model: PreTrainedModel) => Promise<void>,
): Promise<void> {
  const model = await AutoModelForCausalLM.from_pretrained(path.join(goldens, 'models', name), {
    device_map: DEVICE,
    ...options,
  });
  try {
    await body(model);
  } finally {
    await model.dispose();
  }
}

describeOnGpu('a model on the GPU', () => {
  for (const dtype of ['float16', 'bfloat16'] as const) {
    it.each(models)(`%s in ${dtype} answers as transformers does`, (name) =>
      withModel(name, { dtype }, async (model) => {
        let held = 0;
        for (const { kind, input_ids, generate, ...golden } of read(`${name}.json`) as Case[]) {
          if (kind === 'logits') {
            const { logits } = await model.forward({ input_ids: [input_ids] });
            const rows = logits[0] as Tensor;
            expect(distance(rows.at(0), golden.first)).toBeLessThan(ERROR[dtype]);
            expect(distance(rows.at(-1), golden.last)).toBeLessThan(ERROR[dtype]);
            held++;
          } else if ((golden.min_margin ?? 0) > ERROR[dtype]) {
            const ids = await model.generate({ input_ids: [input_ids], ...generate });
            expect(ids.tolist(), kind).toEqual([golden.sequence]);
            held++;
          }
        }
        expect(held).toBeGreaterThan(0);
      }),
    );
  }

  it('gives the same tokens from run to run', () =>
    withModel('llama-gqa-bf16', {}, async (model) => {
      const options = {
        input_ids: [[1, 20, 30, 40]],
        do_sample: true,
        seed: 3,
        max_new_tokens: 40,
      };
      const once = (await model.generate(options)).tolist();
      for (let i = 0; i < 5; i++) expect((await model.generate(options)).tolist()).toEqual(once);
    }));
});
