/**
 * Normally distributed weights, quickly: a table holds the 65,536 quantiles of the normal
 * distribution in the wanted format, and random 16-bit numbers index it.
 */

/** Inverse of the normal distribution function (Acklam's rational approximation, 1.2e-9). */
function normalQuantile(p) {
  const tail = (q, sign) => {
    const r = Math.sqrt(-2 * Math.log(q));
    return (
      (sign *
        (((((-7.784894002430293e-3 * r - 0.3223964580411365) * r - 2.400758277161838) * r -
          2.549732539343734) *
          r +
          4.374664141464968) *
          r +
          2.938163982698783)) /
      ((((7.784695709041462e-3 * r + 0.3224671290700398) * r + 2.445134137142996) * r +
        3.754408661907416) *
        r +
        1)
    );
  };
  if (p < 0.02425) return tail(p, 1);
  if (p > 1 - 0.02425) return tail(1 - p, -1);
  const q = p - 0.5;
  const r = q * q;
  return (
    ((((((-39.69683028665376 * r + 220.9460984245205) * r - 275.9285104469687) * r +
      138.357751867269) *
      r -
      30.66479806614716) *
      r +
      2.506628277459239) *
      q) /
    (((((-54.47609879822406 * r + 161.5858368580409) * r - 155.6989798598866) * r +
      66.80131188771972) *
      r -
      13.28068155288572) *
      r +
      1)
  );
}

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** float32 to bfloat16 bits, round to nearest even; finite values. */
function bfloat16Bits(value) {
  float[0] = value;
  const b = bits[0];
  return (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
}

/** float32 to float16 bits, round to nearest even; |value| < 65,520. */
function float16Bits(value) {
  float[0] = value;
  const sign = (bits[0] >>> 16) & 0x8000;
  const magnitude = Math.abs(float[0]);
  if (magnitude < 2 ** -14) return sign | roundToEven(magnitude * 2 ** 24);
  bits[0] &= 0x7fffffff;
  const b = bits[0] - (112 << 23);
  return sign | ((b + 0xfff + ((b >>> 13) & 1)) >>> 13);
}

function roundToEven(x) {
  const below = Math.floor(x);
  const rest = x - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

/** Storage of a dtype: its name in safetensors, its typed array, and a number's bits in it. */
export const FORMATS = {
  float16: { name: 'F16', bytes: 2, TypedArray: Uint16Array, encode: float16Bits },
  bfloat16: { name: 'BF16', bytes: 2, TypedArray: Uint16Array, encode: bfloat16Bits },
  float32: { name: 'F32', bytes: 4, TypedArray: Float32Array, encode: (value) => value },
};

/** Draws weights of one standard deviation in one format; the same seed gives the same weights. */
export class NormalWeights {
  #table;
  #state;

  constructor(dtype, deviation, seed) {
    const { TypedArray, encode } = FORMATS[dtype];
    this.#table = TypedArray.from({ length: 65536 }, (_, i) =>
      encode(deviation * normalQuantile((i + 0.5) / 65536)),
    );
    this.#state = (seed * 0x9e3779b9 + 0x7f4a7c15) | 0 || 1;
  }

  /** Fills an array of the format with the next draws (Marsaglia's xorshift32, two a number). */
  fill(array) {
    const table = this.#table;
    let state = this.#state;
    const { length } = array;
    for (let i = 0; i < length; i += 2) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      array[i] = table[state & 0xffff];
      array[i + 1] = table[state >>> 16];
    }
    this.#state = state;
  }
}
