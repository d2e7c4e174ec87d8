import type { EngineSession } from '../engine.js';
import type { GenerationFields } from './generation-fields.js';

/** The fields of a model's `config.json` that generation reads. */
export interface GenerationModelConfig {
  readonly vocab_size: number;
  /** Length the model was trained for; generating beyond it warns. */
  readonly max_position_embeddings?: number | null;
}

/** What generation needs of a model. */
export interface GenerationModel {
  readonly config: GenerationModelConfig;
  /** The model's own defaults (`generation_config.json`). */
  readonly generation_config: GenerationFields;
  /** Fires when the model is disposed, so that nothing waits any longer. */
  readonly disposal?: AbortSignal;
  /** A session of its own for one call, which the call disposes. */
  openSession(): EngineSession | Promise<EngineSession>;
}

/**
 * Receives ids as they are generated. Ids come as rows: first the prompts, one row each, then one
 * row of new ids (usually one) for every row. A promise is waited for before generation goes on.
 */
export interface GenerationStreamer {
  put(value: number[][]): void | Promise<void>;
  /** Generation has ended. */
  end(): void | Promise<void>;
  /** Generation has failed or was aborted; `end` is called where this is not defined. */
  fail?(error: unknown): void | Promise<void>;
}
