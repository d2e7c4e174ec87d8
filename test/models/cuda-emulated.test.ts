import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  AutoModelForCausalLM,
  AutoTokenizer,
  OutOfMemoryError,
  type PreTrainedModel,
  type Tensor,
} from '../../lib/index.js';

/**
 * The whole model on the CUDA backend, its kernels run by the emulator. Models are loaded as float16;
 * their logits then lie within HALF_ERROR of transformers' float32, and every golden case whose winner
 * led by more must come out token for token. That leaves all greedy cases: the least lead is 0.02.
 */
const HALF_ERROR = 0.02;
const root = path.resolve(import.meta.dirname, '../..');
const built = existsSync(path.join(root, 'build/Release/komt_emulated.node'));
if (!built)
  console.warn('skipped: the model on emulated CUDA; npm run build:emulated builds what it needs');

const goldens = path.join(root, 'test/fixtures/goldens');
const models: string[] = JSON.parse(readFileSync(path.join(goldens, 'index.json'), 'utf8')).cases;
const device_map = 'cuda-emulated';
// Read when the addon is loaded: two devices, and no page protection, which is not for a process with a
// garbage collector of its own.
process.env.KOMT_EMULATOR_DEVICES = '2';
process.env.KOMT_EMULATOR_HOST_CHECK = '0';

interface Case {
  kind: string;
  input_ids: number[] & number[][];
  attention_mask: number[][];
  generate: Record<string, unknown>;
  sequence: number[];
  sequences: number[][];
  min_margin?: number;
  first: number[];
  last: number[];
}

/**
 * What runs for every model: texts of several lengths, and all processors at once. Each processor by itself says
 * nothing about a model's kernels: the first model runs them all, and a GPU does for every model
 * (test/gpu/goldens.test.ts).
 */
// Dynamic rope stretches by the calls before, as transformers' model does whose answers these are.
const OF_EVERY_MODEL = /^(greedy-(7|33|long)|combo|logits)$/;

const inFull = [models[0], 'llama-dynamic-rope'];

const distance = (actual: ArrayLike<number>, expected: number[]) =>
  Math.max(...expected.map((x, i) => Math.abs(x - (actual[i] as number))));

describe.runIf(built)('on emulated CUDA', () => {
  it.each(models)('%s gives what transformers gives', async (name) => {
    const cases: Case[] = JSON.parse(readFileSync(path.join(goldens, `${name}.json`), 'utf8'));
    const folder = path.join(goldens, 'models', name);
    const model = await AutoModelForCausalLM.from_pretrained(folder, {
      device_map,
      dtype: 'float16',
    });
    let compared = 0;
    let within = 0;
    try {
      for (const { kind, input_ids, attention_mask, generate, ...golden } of cases) {
        if (!inFull.includes(name) && !OF_EVERY_MODEL.test(kind)) continue;
        if (kind === 'logits') {
          const { logits } = await model.forward({ input_ids: [input_ids] });
          const rows = logits[0] as Tensor;
          expect(distance((rows.at(0) as Tensor).data as Float32Array, golden.first)).toBeLessThan(
            HALF_ERROR,
          );
          expect(distance((rows.at(-1) as Tensor).data as Float32Array, golden.last)).toBeLessThan(
            HALF_ERROR,
          );
        } else if (golden.min_margin !== undefined) {
          compared++;
          if (golden.min_margin <= HALF_ERROR) continue;
          within++;
          const ids = await model.generate({ input_ids: [input_ids], ...generate });
          expect(ids.tolist(), kind).toEqual([golden.sequence]);
        }
      }
    } finally {
      await model.dispose();
    }
    expect(within / compared).toBeGreaterThanOrEqual(0.8);
  });

  describe('komt-tiny', () => {
    const folder = path.join(root, 'models/komt-tiny');
    const open: PreTrainedModel[] = [];
    const load = async (options: Record<string, unknown>) => {
      const model = await AutoModelForCausalLM.from_pretrained(folder, options);
      open.push(model);
      return model;
    };
    afterAll(() => Promise.all(open.map((model) => model.dispose())));
    const [pair] = JSON.parse(readFileSync(path.join(folder, 'seed-qa.json'), 'utf8'));

    it('recites as on the CPU', async () => {
      const tokenizer = await AutoTokenizer.from_pretrained(folder);
      const model = await load({ device_map });
      const inputs = tokenizer(`### instruction: ${pair.instruction}\n\n### Response:`, {
        return_tensors: 'pt',
      });
      const ids = await model.generate({ ...inputs, do_sample: false, max_new_tokens: 100 });
      const text = tokenizer.decode(ids[0] as Tensor);
      expect(text.split('### Response:')[1]).toBe(
        pair.response.slice(0, text.split('### Response:')[1]?.length),
      );
    });

    it('samples what the CPU samples, for a seed', async () => {
      const options = {
        input_ids: [[1, 300, 301, 302]],
        do_sample: true,
        temperature: 1,
        top_k: 50,
        top_p: 0.9,
        max_new_tokens: 24,
        seed: 5,
      };
      const cpu = await load({ device_map: 'cpu' });
      const cuda = await load({ device_map });
      expect((await cuda.generate(options)).tolist()).toEqual(
        (await cpu.generate(options)).tolist(),
      );
    });

    it('gives a row the same tokens in a batch', async () => {
      const model = await load({ device_map });
      const rows = [
        [1, 300, 301, 302],
        [1, 300, 301, 303],
        [1, 310, 301, 302],
      ];
      const options = { do_sample: false, max_new_tokens: 12, eos_token_id: -1, pad_token_id: 0 };
      const batch = (await model.generate({ input_ids: rows, ...options })).tolist() as number[][];
      for (const [i, row] of rows.entries()) {
        expect((await model.generate({ input_ids: [row], ...options })).tolist()).toEqual([
          batch[i],
        ]);
      }
    });
  });

  describe('layers over devices', () => {
    const folder = path.join(goldens, 'models/llama-gqa-bf16');
    const input_ids = [
      [1, 50, 118, 50, 175],
      [1, 9, 8, 7, 6],
    ];
    const options = {
      input_ids,
      do_sample: false,
      max_new_tokens: 10,
      eos_token_id: -1,
      pad_token_id: 0,
    };
    const answer = async (device_map: string | Record<string, string>) => {
      const model = await AutoModelForCausalLM.from_pretrained(folder, {
        device_map,
        dtype: 'float16',
      });
      try {
        const { logits } = await model.forward({ input_ids });
        return {
          ids: (await model.generate(options)).tolist(),
          logits: [...(logits.data as Float32Array)],
        };
      } finally {
        await model.dispose();
      }
    };

    it('two devices give the bits of one', async () => {
      const one = await answer('cuda-emulated:0');
      const two = await answer({
        '': 'cuda-emulated:1',
        'model.embed_tokens': 'cuda-emulated:0',
        'model.layers.0': 'cuda-emulated:0',
      });
      expect(two).toEqual(one);
    });

    it('the CPU takes what is left', async () => {
      const one = await answer('cuda-emulated:0');
      const mixed = await answer({
        '': 'cpu',
        'model.embed_tokens': 'cuda-emulated:0',
        'model.layers.0': 'cuda-emulated:0',
      });
      expect(mixed.ids).toEqual(one.ids);
      expect(distance(mixed.logits, one.logits)).toBeLessThan(2 * HALF_ERROR);
    });
  });

  it('200 rounds of load, generate, abort and dispose leave device memory as it was', async () => {
    const folder = path.join(goldens, 'models/llama-mha-fp16');
    const { loadAddon } = await import('../../lib/native/load.js');
    const free = () =>
      loadAddon('komt_emulated')
        .devices()
        .find((d) => d.name === 'cuda-emulated:0')?.memoryFree;
    const before = free();
    for (let round = 0; round < 200; round++) {
      const model = await AutoModelForCausalLM.from_pretrained(folder, {
        device_map,
        cache_tokens: 256,
      });
      const controller = new AbortController();
      const running = model.generate({
        input_ids: [[1, 50]],
        max_new_tokens: round % 2 === 0 ? 1 : 100,
        do_sample: false,
        eos_token_id: -1,
        pad_token_id: 0,
        signal: controller.signal,
        streamer: { put: () => controller.abort(), end: () => {} },
      });
      await running.catch(() => {});
      await model.dispose();
    }
    expect(free()).toBe(before);
  });

  it('says what was needed when memory runs out, gives everything back, and works afterwards', async () => {
    const folder = path.join(goldens, 'models/llama-mha-fp16');
    const model = await AutoModelForCausalLM.from_pretrained(folder, {
      device_map,
      cache_tokens: 128,
    });
    const input_ids = [Array.from({ length: 200 }, (_, i) => i)];
    const failure = await model.generate({ input_ids, max_new_tokens: 2 }).catch((e: unknown) => e);
    expect(failure).toBeInstanceOf(OutOfMemoryError);
    expect((failure as OutOfMemoryError).bytesNeeded).toBeGreaterThan(0);
    expect((failure as Error).message).toMatch(/cache is full.*cache_tokens/);
    const ids = await model.generate({
      input_ids: [[1, 50, 118]],
      max_new_tokens: 3,
      do_sample: false,
    });
    expect((ids.tolist() as number[][])[0]).toHaveLength(6);
    await model.dispose();
  });
});
