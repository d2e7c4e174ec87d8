import type { NativeRope } from '../native/addon.js';
import type { RopeParameters } from './rope-parameters.js';

// The formulas and the places where they round to float32 are those of transformers 5.18,
// modeling_rope_utils.py: PyTorch computes powers and quotients of float32 tensors in float32.
const f32 = Math.fround;

/** base^(2i/dim) for i in [0, dim/2), in float32. */
function powers(base: number, dim: number): number[] {
  return Array.from({ length: dim / 2 }, (_, i) => f32(base ** f32((2 * i) / dim)));
}

/** Llama 3: long wavelengths are divided by the factor, short ones kept, those between blended. */
function llama3(
  rope: Extract<RopeParameters, { rope_type: 'llama3' }>,
  inv_freq: number[],
): number[] {
  const { factor, low_freq_factor, high_freq_factor, original_max_position_embeddings } = rope;
  const low = original_max_position_embeddings / low_freq_factor;
  const high = original_max_position_embeddings / high_freq_factor;
  return inv_freq.map((frequency) => {
    const wavelength = f32((2 * Math.PI) / frequency);
    if (wavelength > low) return f32(frequency / factor);
    if (wavelength < high) return frequency;
    const smooth =
      (original_max_position_embeddings / wavelength - low_freq_factor) /
      (high_freq_factor - low_freq_factor);
    return f32(((1 - smooth) * frequency) / factor + smooth * frequency);
  });
}

/** YaRN: interpolated and kept frequencies blended by a ramp over the dimensions. */
function yarn(
  rope: Extract<RopeParameters, { rope_type: 'yarn' }>,
  dim: number,
): { inv_freq: number[]; attention_scaling: number } {
  const { rope_theta, factor, original_max_position_embeddings, mscale, mscale_all_dim } = rope;
  const correction = (rotations: number) =>
    (dim * Math.log(original_max_position_embeddings / (rotations * 2 * Math.PI))) /
    (2 * Math.log(rope_theta));
  let low = correction(rope.beta_fast);
  let high = correction(rope.beta_slow);
  if (rope.truncate) {
    low = Math.floor(low);
    high = Math.ceil(high);
  }
  low = Math.max(low, 0);
  high = Math.min(high, dim - 1);
  if (low === high) high += 0.001; // keeps the ramp finite
  const inv_freq = powers(rope_theta, dim).map((power, i) => {
    const ramp = Math.min(1, Math.max(0, f32((i - low) / (high - low))));
    const kept = f32(1 - ramp);
    return f32(f32(f32(1 / f32(factor * power)) * f32(1 - kept)) + f32(f32(1 / power) * kept));
  });
  const getMscale = (scale: number, m = 1) => (scale <= 1 ? 1 : 0.1 * m * Math.log(scale) + 1);
  const attention_scaling =
    rope.attention_factor ??
    (mscale && mscale_all_dim
      ? getMscale(factor, mscale) / getMscale(factor, mscale_all_dim)
      : getMscale(factor));
  return { inv_freq, attention_scaling };
}

/**
 * The rotary embedding as the engine takes it: [head_dim / 2] frequencies in radians per position,
 * and a factor on cos and sin. Only dynamic scaling leaves something for the engine to do.
 */
export function ropeFrequencies(
  rope: RopeParameters,
  head_dim: number,
  max_position_embeddings: number,
): NativeRope {
  let inv_freq = powers(rope.rope_theta, head_dim).map((power) => f32(1 / power));
  let attention_scaling = 1;
  if (rope.rope_type === 'linear') {
    inv_freq = inv_freq.map((frequency) => f32(frequency / rope.factor));
  } else if (rope.rope_type === 'llama3') {
    inv_freq = llama3(rope, inv_freq);
  } else if (rope.rope_type === 'yarn') {
    ({ inv_freq, attention_scaling } = yarn(rope, head_dim));
  }
  const dynamic = rope.rope_type === 'dynamic';
  return {
    inv_freq: Float32Array.from(inv_freq),
    attention_scaling,
    dynamic,
    theta: rope.rope_theta,
    factor: dynamic ? rope.factor : 1,
    original_max_position: max_position_embeddings,
  };
}
