import { readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EngineSession } from '../../lib/engine.js';
import type { Engine } from '../../lib/native/engine.js';
import { decodeOne, GOLDENS, loadEngine } from './helpers.js';

interface GoldenCase {
  kind: string;
  input_ids: number[];
  generate: { max_new_tokens: number };
  sequence: number[];
  first: number[];
  last: number[];
}

const models = JSON.parse(readFileSync(path.join(GOLDENS, 'index.json'), 'utf8')).cases as string[];

describe.each(models)('the graph of %s against transformers', (name) => {
  const cases: GoldenCase[] = JSON.parse(readFileSync(path.join(GOLDENS, `${name}.json`), 'utf8'));
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
      const tokens = await decodeOne(session, golden.input_ids, golden.generate.max_new_tokens);
      expect([...golden.input_ids, ...tokens], golden.kind).toEqual(golden.sequence);
    }
  });
});
