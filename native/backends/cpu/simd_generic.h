#pragma once
// The vector vocabulary of the kernels in plain C++: fixed-length loops that any compiler
// vectorises for the processor at hand.
#include <bit>
#include <cmath>

#include "backends/cpu/kernels.h"
#include "backends/cpu/simd_target.h"
#include "engine/dtype.h"

namespace komt::cpu::KOMT_ISA {

inline constexpr int kLanes = 8;
inline constexpr int kTileTokens = 2;
inline constexpr int kTileRows = 2;
inline constexpr int kStreamTokens = 2;
inline constexpr int kTileKeys = 4;
inline constexpr int kValuePages = 1;
inline constexpr int kValueVectors = 4;

struct Vec {
  float lane[kLanes];
};
struct IntVec {
  int32_t lane[kLanes];
};

// A fused multiply-add where the processor has one, written out: left to the compiler, one loop may
// be contracted and another not, and a token's bits would depend on its batch.
KOMT_INLINE float fma1(float a, float b, float c) {
#if defined(__aarch64__) || defined(_M_ARM64) || defined(__FP_FAST_FMAF) || defined(FP_FAST_FMAF)
  return std::fma(a, b, c);
#else
  return a * b + c;
#endif
}

/// Exact, and free of branches so that it is vectorised: the exponents of float16 are moved to
/// float's by a product, which also makes subnormal values normal.
KOMT_INLINE float half_to_float1(uint16_t h) {
  const float magnitude = std::bit_cast<float>(uint32_t(h & 0x7fffu) << 13) * 0x1p112f;
  const uint32_t special = (h & 0x7c00u) == 0x7c00u ? 0x7f800000u : 0u;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | special |
                              (uint32_t(h & 0x8000u) << 16));
}

#define KOMT_LANES(expression)                        \
  Vec r;                                              \
  for (int i = 0; i < kLanes; ++i) r.lane[i] = (expression); \
  return r
#define KOMT_INT_LANES(expression)                    \
  IntVec r;                                           \
  for (int i = 0; i < kLanes; ++i) r.lane[i] = int32_t(expression); \
  return r

KOMT_INLINE Vec zero() { return Vec{}; }
KOMT_INLINE Vec set1(float x) { KOMT_LANES(x); }
KOMT_INLINE Vec load(const float* p) { KOMT_LANES(p[i]); }
KOMT_INLINE Vec load(const Half* p) { KOMT_LANES(half_to_float1(p[i].bits)); }
KOMT_INLINE Vec load(const Bfloat16* p) { KOMT_LANES(komt::bfloat16_to_float(p[i].bits)); }
/// The first n < kLanes; zeros behind.
KOMT_INLINE Vec load_first(const float* p, int64_t n) { KOMT_LANES(i < n ? p[i] : 0.0f); }
KOMT_INLINE void store(float* p, const Vec& v) {
  for (int i = 0; i < kLanes; ++i) p[i] = v.lane[i];
}
KOMT_INLINE void store_first(float* p, const Vec& v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = v.lane[i];
}
KOMT_INLINE Vec add(const Vec& a, const Vec& b) { KOMT_LANES(a.lane[i] + b.lane[i]); }
KOMT_INLINE Vec sub(const Vec& a, const Vec& b) { KOMT_LANES(a.lane[i] - b.lane[i]); }
KOMT_INLINE Vec mul(const Vec& a, const Vec& b) { KOMT_LANES(a.lane[i] * b.lane[i]); }
KOMT_INLINE Vec div(const Vec& a, const Vec& b) { KOMT_LANES(a.lane[i] / b.lane[i]); }
/// a * b + c
KOMT_INLINE Vec fma(const Vec& a, const Vec& b, const Vec& c) {
  KOMT_LANES(fma1(a.lane[i], b.lane[i], c.lane[i]));
}
/// c - a * b
KOMT_INLINE Vec fnma(const Vec& a, const Vec& b, const Vec& c) {
  KOMT_LANES(fma1(-a.lane[i], b.lane[i], c.lane[i]));
}
/// b where unordered.
KOMT_INLINE Vec min(const Vec& a, const Vec& b) {
  KOMT_LANES(a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]);
}
KOMT_INLINE Vec max(const Vec& a, const Vec& b) {
  KOMT_LANES(a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]);
}
KOMT_INLINE IntVec bits(const Vec& v) { KOMT_INT_LANES(std::bit_cast<int32_t>(v.lane[i])); }
KOMT_INLINE Vec from_bits(const IntVec& v) { KOMT_LANES(std::bit_cast<float>(v.lane[i])); }
KOMT_INLINE IntVec set1_int(int32_t x) { KOMT_INT_LANES(x); }
// Unsigned arithmetic: lanes that hold the bits of a NaN may wrap.
KOMT_INLINE IntVec add_int(const IntVec& a, const IntVec& b) {
  KOMT_INT_LANES(uint32_t(a.lane[i]) + uint32_t(b.lane[i]));
}
KOMT_INLINE IntVec sub_int(const IntVec& a, const IntVec& b) {
  KOMT_INT_LANES(uint32_t(a.lane[i]) - uint32_t(b.lane[i]));
}
KOMT_INLINE IntVec halve_int(const IntVec& a) { KOMT_INT_LANES(a.lane[i] >> 1); }
KOMT_INLINE IntVec to_exponent(const IntVec& a) { KOMT_INT_LANES(uint32_t(a.lane[i]) << 23); }

/// Evens of 2 * kLanes consecutive floats into `even`, odds into `odd`.
KOMT_INLINE void load_pairs(const float* p, Vec& even, Vec& odd) {
  for (int i = 0; i < kLanes; ++i) {
    even.lane[i] = p[2 * i];
    odd.lane[i] = p[2 * i + 1];
  }
}

/// Sum of the lanes as a tree: i with i + 4, then i + 2, i + 1.
KOMT_INLINE float sum_lanes(const Vec& v) {
  const float* a = v.lane;
  return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
}

KOMT_INLINE void sum_lanes4(const Vec* v, float* sums) {
  for (int i = 0; i < 4; ++i) sums[i] = sum_lanes(v[i]);
}

KOMT_INLINE void store_half(Half* p, const Vec& v) {
  for (int i = 0; i < kLanes; ++i) p[i].bits = komt::float_to_half(v.lane[i]);
}

#undef KOMT_LANES
#undef KOMT_INT_LANES

}  // namespace komt::cpu::KOMT_ISA
