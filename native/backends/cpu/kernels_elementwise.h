#pragma once
// Everything that is done element by element or row by row, written once over the vector vocabulary.

namespace komt::cpu::KOMT_ISA {

/// e^x within 2 ulp, results below 2^-126 included; inf above 88.72, NaN stays NaN.
/// Cody and Waite's reduction to |r| <= ln2 / 2 and the minimax polynomial of Cephes' expf.
KOMT_INLINE Vec exp(Vec x) {
  x = min(set1(90.0f), x);
  x = max(set1(-105.0f), x);
  // Adding 1.5 * 2^23 leaves the rounded quotient in the low bits.
  const Vec magic = set1(12582912.0f);
  const Vec shifted = fma(x, set1(1.44269504088896341f), magic);
  const Vec n = sub(shifted, magic);
  Vec r = fnma(n, set1(0.693359375f), x);
  r = fnma(n, set1(-2.12194440e-4f), r);
  Vec p = set1(1.9875691500e-4f);
  p = fma(p, r, set1(1.3981999507e-3f));
  p = fma(p, r, set1(8.3334519073e-3f));
  p = fma(p, r, set1(4.1665795894e-2f));
  p = fma(p, r, set1(1.6666665459e-1f));
  p = fma(p, r, set1(5.0000001201e-1f));
  p = fma(p, mul(r, r), r);
  p = add(p, set1(1.0f));
  // 2^n in two factors: n may be 130 or -152, beyond one float's exponent.
  const IntVec exponent = sub_int(bits(shifted), bits(magic));
  const IntVec half = halve_int(exponent);
  const IntVec bias = set1_int(127);
  const Vec scale1 = from_bits(to_exponent(add_int(half, bias)));
  const Vec scale2 = from_bits(to_exponent(add_int(sub_int(exponent, half), bias)));
  return mul(mul(p, scale1), scale2);
}

static void exp_array(const float* x, int64_t n, float* y) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, exp(load(x + i)));
  if (i < n) store_first(y + i, exp(load_first(x + i, n - i)), n - i);
}

static void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* y) {
  Vec sum = zero();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const Vec v = load(x + i);
    sum = fma(v, v, sum);
  }
  if (i < n) {
    const Vec v = load_first(x + i, n - i);
    sum = fma(v, v, sum);
  }
  const float scale = 1.0f / sqrtf(sum_lanes(sum) / float(n) + eps);
  const Vec scales = set1(scale);
  for (i = 0; i + kLanes <= n; i += kLanes)
    store(y + i, mul(load(weight + i), mul(load(x + i), scales)));
  if (i < n) {
    const Vec v = mul(load_first(weight + i, n - i), mul(load_first(x + i, n - i), scales));
    store_first(y + i, v, n - i);
  }
}

KOMT_INLINE Vec silu_times(Vec gate, Vec up) {
  return mul(div(gate, add(set1(1.0f), exp(sub(zero(), gate)))), up);
}

static void silu_gate(const float* x, int64_t n, float* y) {
  int64_t i = 0;
  Vec gate, up;
  for (; i + kLanes <= n; i += kLanes) {
    load_pairs(x + 2 * i, gate, up);
    store(y + i, silu_times(gate, up));
  }
  if (i < n) {
    float rest[2 * kLanes] = {};
    for (int64_t j = 0; j < 2 * (n - i); ++j) rest[j] = x[2 * i + j];
    load_pairs(rest, gate, up);
    store_first(y + i, silu_times(gate, up), n - i);
  }
}

KOMT_INLINE void rotate_lanes(Vec a, Vec b, Vec c, Vec s, Vec& low, Vec& high) {
  low = fnma(b, s, mul(a, c));
  high = fma(a, s, mul(b, c));
}

static void rotate(const float* x, const float* cos, const float* sin, int64_t half, float* y) {
  int64_t i = 0;
  Vec low, high;
  for (; i + kLanes <= half; i += kLanes) {
    rotate_lanes(load(x + i), load(x + half + i), load(cos + i), load(sin + i), low, high);
    store(y + i, low);
    store(y + half + i, high);
  }
  if (i < half) {
    const int64_t n = half - i;
    rotate_lanes(load_first(x + i, n), load_first(x + half + i, n), load_first(cos + i, n),
                 load_first(sin + i, n), low, high);
    store_first(y + i, low, n);
    store_first(y + half + i, high, n);
  }
}

/// n elements through whole vectors: the last, partial one goes through a buffer.
template <class W>
KOMT_INLINE void widen(const W* x, int64_t n, float* y) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, load(x + i));
  if (i < n) {
    W rest[kLanes] = {};
    for (int64_t j = 0; j < n - i; ++j) rest[j] = x[i + j];
    store_first(y + i, load(rest), n - i);
  }
}
static void half_to_float(const Half* x, int64_t n, float* y) { widen(x, n, y); }
static void bfloat16_to_float(const Bfloat16* x, int64_t n, float* y) { widen(x, n, y); }

static void float_to_half(const float* x, int64_t n, Half* y) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store_half(y + i, load(x + i));
  if (i < n) {
    Half rest[kLanes];
    store_half(rest, load_first(x + i, n - i));
    for (int64_t j = 0; j < n - i; ++j) y[i + j] = rest[j];
  }
}

static void float_to_bfloat16(const float* x, int64_t n, Bfloat16* y) {
  for (int64_t i = 0; i < n; ++i) {
    uint32_t u;
    memcpy(&u, x + i, sizeof u);
    const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    y[i].bits = uint16_t((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40u : rounded);
  }
}

}  // namespace komt::cpu::KOMT_ISA
