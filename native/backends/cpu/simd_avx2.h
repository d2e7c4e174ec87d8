#pragma once
// The vector vocabulary of the kernels for AVX2 with FMA and F16C.
#include <immintrin.h>

#include "backends/cpu/kernels.h"
#include "backends/cpu/simd_target.h"

namespace komt::cpu::KOMT_ISA {

using Vec = __m256;
using IntVec = __m256i;
inline constexpr int kLanes = 8;
inline constexpr int kTileTokens = 4;
inline constexpr int kTileRows = 3;
inline constexpr int kStreamTokens = 2;
inline constexpr int kTileKeys = 8;
inline constexpr int kValuePages = 1;
inline constexpr int kValueVectors = 8;

KOMT_INLINE __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

KOMT_INLINE Vec zero() { return _mm256_setzero_ps(); }
KOMT_INLINE Vec set1(float x) { return _mm256_set1_ps(x); }
KOMT_INLINE Vec load(const float* p) { return _mm256_loadu_ps(p); }
KOMT_INLINE Vec load(const Half* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
KOMT_INLINE Vec load(const Bfloat16* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
/// The first n < kLanes; zeros behind.
KOMT_INLINE Vec load_first(const float* p, int64_t n) {
  return _mm256_maskload_ps(p, first_lanes(n));
}
KOMT_INLINE void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
KOMT_INLINE void store_first(float* p, Vec v, int64_t n) {
  _mm256_maskstore_ps(p, first_lanes(n), v);
}
KOMT_INLINE Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
KOMT_INLINE Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
KOMT_INLINE Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
KOMT_INLINE Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
/// a * b + c
KOMT_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
/// c - a * b
KOMT_INLINE Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }
/// b where unordered.
KOMT_INLINE Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
KOMT_INLINE Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
KOMT_INLINE IntVec bits(Vec v) { return _mm256_castps_si256(v); }
KOMT_INLINE Vec from_bits(IntVec v) { return _mm256_castsi256_ps(v); }
KOMT_INLINE IntVec set1_int(int32_t x) { return _mm256_set1_epi32(x); }
KOMT_INLINE IntVec add_int(IntVec a, IntVec b) { return _mm256_add_epi32(a, b); }
KOMT_INLINE IntVec sub_int(IntVec a, IntVec b) { return _mm256_sub_epi32(a, b); }
KOMT_INLINE IntVec halve_int(IntVec a) { return _mm256_srai_epi32(a, 1); }
KOMT_INLINE IntVec to_exponent(IntVec a) { return _mm256_slli_epi32(a, 23); }

/// Evens of 2 * kLanes consecutive floats into `even`, odds into `odd`.
KOMT_INLINE void load_pairs(const float* p, Vec& even, Vec& odd) {
  const Vec a = load(p);
  const Vec b = load(p + 8);
  const Vec low = _mm256_permute2f128_ps(a, b, 0x20);
  const Vec high = _mm256_permute2f128_ps(a, b, 0x31);
  even = _mm256_shuffle_ps(low, high, _MM_SHUFFLE(2, 0, 2, 0));
  odd = _mm256_shuffle_ps(low, high, _MM_SHUFFLE(3, 1, 3, 1));
}

/// Sum of the lanes as a tree: i with i + 4, then i + 2, i + 1.
KOMT_INLINE float sum_lanes(Vec v) {
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

/// sum_lanes of four vectors, the same tree.
KOMT_INLINE void sum_lanes4(const Vec* v, float* sums) {
  __m128 h[4];
  KOMT_UNROLL
  for (int i = 0; i < 4; ++i)
    h[i] = _mm_add_ps(_mm256_castps256_ps128(v[i]), _mm256_extractf128_ps(v[i], 1));
  const __m128 ab = _mm_add_ps(_mm_unpacklo_ps(h[0], h[1]), _mm_unpackhi_ps(h[0], h[1]));
  const __m128 cd = _mm_add_ps(_mm_unpacklo_ps(h[2], h[3]), _mm_unpackhi_ps(h[2], h[3]));
  _mm_storeu_ps(sums, _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab)));
}

KOMT_INLINE void store_half(Half* p, Vec v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

}  // namespace komt::cpu::KOMT_ISA
