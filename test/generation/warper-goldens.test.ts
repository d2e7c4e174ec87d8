import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { GenerationConfig } from '../../lib/generation/configuration.js';
import type { GenerationFields } from '../../lib/generation/generation-fields.js';
import { get_logits_processor } from '../../lib/generation/logits-processor-list.js';

interface WarperCase {
  config: GenerationFields;
  prompt_length: number;
  input_ids: number[];
  logits: number[];
  order: string[];
  /** null is -Infinity. */
  scores: (number | null)[];
}

const { cases } = JSON.parse(
  readFileSync(new URL('../fixtures/goldens/warpers.json', import.meta.url), 'utf8'),
) as { cases: WarperCase[] };

describe("transformers' vectors of processors and warpers", () => {
  it('has all 87', () => {
    expect(cases).toHaveLength(87);
  });

  it.each(cases.map((c, i) => [i, JSON.stringify(c.config), c] as const))('%i %s', (_i, _, c) => {
    const config = new GenerationConfig({
      do_sample: true,
      eos_token_id: 2,
      bos_token_id: 1,
      max_length: 400,
      ...c.config,
    });
    const processors = get_logits_processor(config, { input_ids_seq_length: c.prompt_length });
    expect([...processors].map((p) => p.constructor.name)).toEqual(c.order);
    const [row] = processors([c.input_ids], [Float32Array.from(c.logits)]) as [Float32Array];
    c.scores.forEach((x, id) => {
      if (x === null) expect(row[id]).toBe(Number.NEGATIVE_INFINITY);
      else expect(Math.abs((row[id] as number) - x)).toBeLessThan(1e-4);
    });
  });
});
