import { isObject } from '../bounded-json.js';
import { UnsupportedModelError } from '../errors.js';
import { ConfigReader, type Range } from './config-reader.js';

/**
 * Rotary embedding of a model: what transformers 5 calls `rope_parameters` and earlier versions spread
 * over `rope_theta` and `rope_scaling`.
 */
export type RopeParameters = {
  /** Base wavelength. */
  rope_theta: number;
} & (
  | { rope_type: 'default' }
  | { rope_type: 'linear' | 'dynamic'; factor: number }
  | {
      rope_type: 'llama3';
      factor: number;
      low_freq_factor: number;
      high_freq_factor: number;
      original_max_position_embeddings: number;
    }
  | {
      rope_type: 'yarn';
      factor: number;
      original_max_position_embeddings: number;
      /** Factor on cos and sin; undefined: derived from `factor`, `mscale` and `mscale_all_dim`. */
      attention_factor?: number;
      beta_fast: number;
      beta_slow: number;
      mscale?: number;
      mscale_all_dim?: number;
      /** Round the correction range to whole dimensions. */
      truncate: boolean;
    }
);

/** Scalings that the library computes. */
const SUPPORTED_ROPE_TYPES = ['default', 'linear', 'dynamic', 'llama3', 'yarn'] as const;

const DEFAULT_THETA = 10_000;
/** Largest context that a config may claim: float32, in which angles are computed, tells no more positions apart. */
export const MAX_POSITIONS = 2 ** 24;

// Frequencies stay finite and above 0 within these; the published values stand behind.
const THETA: Range = { above: 1, max: 1e12 }; // 1e4 to 4e9
const FACTOR: Range = { min: 2 ** -10, max: 2 ** 20 }; // 1 to 128
const FREQUENCY_FACTOR: Range = { min: 2 ** -10, max: 2 ** 20 }; // 1 and 4
const BETA: Range = { min: 0, max: 2 ** 20 }; // 1 and 32
const MSCALE: Range = { min: 0, max: 2 ** 10 }; // 0.7 to 1.4

/**
 * Reads either layout with the precedence of transformers 5.18 (modeling_rope_utils.py,
 * `convert_rope_params_to_dict` and `standardize_rope_params`): a non-empty `rope_scaling`, else
 * `rope_parameters`; a `rope_theta` inside wins over the one beside; `type` is the old name of
 * `rope_type`.
 * @throws UnsupportedModelError
 */
export function readRopeParameters(
  config: ConfigReader,
  max_position_embeddings: number,
): RopeParameters {
  const read = (field: string) => {
    const value = config.raw[field] ?? {};
    return isObject(value) ? value : config.fail(field, 'an object or null');
  };
  const field = Object.keys(read('rope_scaling')).length > 0 ? 'rope_scaling' : 'rope_parameters';
  const value = read(field);
  if (Object.values(value).some(isObject)) return config.fail(field, 'one set for all layers');

  const rope = new ConfigReader(value, config.file, `${field}.`);
  const rope_theta = rope.number(
    'rope_theta',
    THETA,
    config.number('rope_theta', THETA, DEFAULT_THETA),
  );
  for (const reader of [rope, config]) {
    if (reader.number('partial_rotary_factor', { min: 0, max: 1 }, 1) !== 1) {
      reader.fail('partial_rotary_factor', '1: all dimensions of a head are rotated');
    }
  }

  const rope_type = rope.string('rope_type') ?? rope.string('type') ?? 'default';
  const factor = (fallback?: number) => rope.number('factor', FACTOR, fallback);
  // Older configs have the original length beside the scaling, and there it wins.
  const originalLength = () =>
    (isPresent(config, 'original_max_position_embeddings') ? config : rope).integer(
      'original_max_position_embeddings',
      1,
      MAX_POSITIONS,
      max_position_embeddings,
    );
  switch (rope_type) {
    case 'default':
      return { rope_type, rope_theta };
    case 'linear':
      return { rope_type, rope_theta, factor: factor() };
    case 'dynamic':
      // Below 1 the base could become negative.
      return { rope_type, rope_theta, factor: rope.number('factor', { min: 1, max: FACTOR.max }) };
    case 'llama3': {
      const low_freq_factor = rope.number('low_freq_factor', FREQUENCY_FACTOR);
      return {
        rope_type,
        rope_theta,
        factor: factor(),
        low_freq_factor,
        high_freq_factor: rope.number('high_freq_factor', {
          above: low_freq_factor,
          max: FREQUENCY_FACTOR.max,
        }),
        original_max_position_embeddings: originalLength(),
      };
    }
    case 'yarn': {
      const original_max_position_embeddings = originalLength();
      return {
        rope_type,
        rope_theta,
        factor: factor(max_position_embeddings / original_max_position_embeddings),
        original_max_position_embeddings,
        attention_factor: rope.optionalNumber('attention_factor', MSCALE),
        beta_fast: rope.number('beta_fast', BETA, 32) || 32,
        beta_slow: rope.number('beta_slow', BETA, 1) || 1,
        mscale: rope.optionalNumber('mscale', MSCALE),
        mscale_all_dim: rope.optionalNumber('mscale_all_dim', MSCALE),
        truncate: rope.boolean('truncate', true),
      };
    }
    default:
      throw new UnsupportedModelError(`The rotary scaling ${rope_type} is not supported`, {
        file: config.file,
        subject: `${field}.rope_type`,
        expected: SUPPORTED_ROPE_TYPES.join(', '),
        found: rope_type,
      });
  }
}

function isPresent(config: ConfigReader, field: string): boolean {
  return config.raw[field] !== undefined && config.raw[field] !== null;
}
