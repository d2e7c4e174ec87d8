import { mkdtempSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, it } from 'vitest';
import { makeCheckpoint } from '../../bench/make-checkpoint.mjs';
import { parameterCount, SHAPES } from '../../bench/support/shapes.mjs';
import { AutoModelForCausalLM, type Tensor } from '../../lib/index.js';

it('a model whose tensors are views of one storage loads and runs, from a small file', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'komt-views-'));
  try {
    const shape = { ...SHAPES.tiny, num_hidden_layers: 40 };
    makeCheckpoint(folder, { shape, views: true });
    const { size } = statSync(path.join(folder, 'pytorch_model.bin'));
    expect(size).toBeLessThan(parameterCount(shape) / 4);
    const model = await AutoModelForCausalLM.from_pretrained(folder, { device_map: 'cpu' });
    try {
      const { logits } = await model.forward({ input_ids: [[1, 259, 300, 511]] });
      const last = (logits[0] as Tensor).at(-1) as Tensor;
      const values = [...(last.data as Float32Array)];
      expect(values.every(Number.isFinite)).toBe(true);
      expect(new Set(values).size).toBeGreaterThan(400);
    } finally {
      await model.dispose();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
