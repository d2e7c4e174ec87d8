import path from 'node:path';
import { openCheckpoint } from '../../lib/checkpoint/open.js';
import type { DecodeRequest, EngineSession } from '../../lib/engine.js';
import { autoDType, nativeConfig, weightSources } from '../../lib/models/architecture.js';
import { PretrainedConfig } from '../../lib/models/config.js';
import { Engine, type LoadRequest } from '../../lib/native/engine.js';

export const GOLDENS = path.join(import.meta.dirname, '../fixtures/goldens');

/** What Engine.load takes, for a local folder on the CPU. */
export async function loadRequest(folder: string, threads = 0): Promise<LoadRequest> {
  const config = await PretrainedConfig.from_folder(folder);
  const checkpoint = await openCheckpoint(folder);
  return {
    config: nativeConfig(config, autoDType(checkpoint, config, false)),
    sources: weightSources(config, checkpoint),
    placement: [{ device: 'cpu', layers: config.num_hidden_layers }],
    threads,
  };
}

/** A golden model on the engine alone, without the library's model class. */
export async function loadEngine(name: string, threads = 0): Promise<Engine> {
  return Engine.load(await loadRequest(path.join(GOLDENS, 'models', name), threads));
}

export const GREEDY = {
  do_sample: false,
  temperature: 1,
  top_k: 0,
  top_p: 1,
  min_p: 0,
  typical_p: 1,
  repetition_penalty: 1,
  min_new_tokens: 0,
};

/** Decodes one prompt in a sequence of its own; returns the new tokens. */
export async function decodeOne(
  session: EngineSession,
  prompt: readonly number[],
  max_new_tokens: number,
  request: Partial<DecodeRequest> = {},
): Promise<number[]> {
  const sequence = session.create();
  const tokens: number[] = [];
  try {
    await session.decode({
      rows: [
        {
          sequence,
          tokens: prompt,
          history: prompt,
          streamHash: 1n,
          streamLane: 0,
          max_new_tokens,
        },
      ],
      sampling: GREEDY,
      eos_token_ids: [2],
      seed: 0n,
      ask: false,
      ...request,
      onStep: (step) => {
        tokens.push(...step.tokens);
        return request.onStep?.(step);
      },
    });
  } finally {
    session.release(sequence);
  }
  return tokens;
}
