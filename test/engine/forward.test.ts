import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import type { EngineSession } from '../../lib/engine.js';
import { autoDType, nativeConfig, weightSources } from '../../lib/models/architecture.js';
import { PretrainedConfig } from '../../lib/models/config.js';
import { Engine } from '../../lib/native/engine.js';

const goldens = path.join(import.meta.dirname, '../fixtures/goldens');

interface GoldenCase {
  kind: string;
  input_ids: number[];
  generate: { max_new_tokens: number };
  sequence: number[];
  first: number[];
  last: number[];
}

export async function loadEngine(name: string, threads = 0): Promise<Engine> {
  const folder = path.join(goldens, 'models', name);
  const config = await PretrainedConfig.from_folder(folder);
  const checkpoint = await openCheckpoint(folder);
  return Engine.load({
    config: nativeConfig(config, autoDType(checkpoint, config, false)),
    sources: weightSources(config, checkpoint),
    placement: [{ device: 'cpu', layers: config.num_hidden_layers }],
    threads,
  });
}

const models = JSON.parse(readFileSync(path.join(goldens, 'index.json'), 'utf8')).cases as string[];

describe.each(models)('the graph of %s against transformers', (name) => {
  const cases: GoldenCase[] = JSON.parse(readFileSync(path.join(goldens, `${name}.json`), 'utf8'));
  let engine: Engine;
  let session: EngineSession;
  beforeAll(async () => {
    engine = await loadEngine(name);
    session = engine.openSession();
  });
  afterAll(() => engine.dispose());

  it('gives the same logits', async () => {
    const golden = cases.find((c) => c.kind === 'logits') as GoldenCase;
    const sequence = session.create();
    const { logits, rows } = await session.forward([
      { sequence, tokens: golden.input_ids, logits: 'all' },
    ]);
    session.release(sequence);
    expect(rows).toBe(golden.input_ids.length);
    const vocab = session.vocab_size;
    const error = (actual: Float32Array, expected: number[]) =>
      Math.max(...expected.map((x, i) => Math.abs(x - (actual[i] as number))));
    expect(error(logits.subarray(0, vocab), golden.first)).toBeLessThan(2e-4);
    expect(error(logits.subarray(-vocab), golden.last)).toBeLessThan(2e-4);
  });

  it('decodes the same tokens greedily', async () => {
    for (const golden of cases.filter((c) => c.kind.startsWith('greedy'))) {
      const sequence = session.create();
      const tokens: number[] = [];
      await session.decode({
        rows: [
          {
            sequence,
            tokens: golden.input_ids,
            streamHash: 0n,
            streamLane: 0,
            max_new_tokens: golden.generate.max_new_tokens,
          },
        ],
        sampling: {
          do_sample: false,
          temperature: 1,
          top_k: 0,
          top_p: 1,
          min_p: 0,
          typical_p: 1,
          repetition_penalty: 1,
          min_new_tokens: 0,
        },
        eos_token_ids: [2],
        seed: 0n,
        ask: false,
        onStep: (step) => {
          tokens.push(...step.tokens);
        },
      });
      session.release(sequence);
      expect([...golden.input_ids, ...tokens], golden.kind).toEqual(golden.sequence);
    }
  });
});
