#pragma once
// The vector vocabulary of the kernels for AVX-512 (F, BW, DQ, VL).
#include <immintrin.h>

#include "backends/cpu/kernels.h"
#include "backends/cpu/simd_target.h"

namespace komt::cpu::KOMT_ISA {

using Vec = __m512;
using IntVec = __m512i;
inline constexpr int kLanes = 16;
inline constexpr int kTileTokens = 4;
inline constexpr int kTileRows = 6;
inline constexpr int kStreamTokens = 4;
inline constexpr int kTileKeys = 8;
inline constexpr int kValuePages = 4;
inline constexpr int kValueVectors = 4;

KOMT_INLINE __mmask16 first_lanes(int64_t n) { return __mmask16((1u << n) - 1u); }

KOMT_INLINE Vec zero() { return _mm512_setzero_ps(); }
KOMT_INLINE Vec set1(float x) { return _mm512_set1_ps(x); }
KOMT_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
KOMT_INLINE Vec load(const Half* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
KOMT_INLINE Vec load(const Bfloat16* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
/// The first n < kLanes; zeros behind.
KOMT_INLINE Vec load_first(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
KOMT_INLINE void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
KOMT_INLINE void store_first(float* p, Vec v, int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), v);
}
KOMT_INLINE Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
KOMT_INLINE Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
KOMT_INLINE Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
KOMT_INLINE Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
/// a * b + c
KOMT_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
/// c - a * b
KOMT_INLINE Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }
/// b where unordered.
KOMT_INLINE Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
KOMT_INLINE Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
KOMT_INLINE IntVec bits(Vec v) { return _mm512_castps_si512(v); }
KOMT_INLINE Vec from_bits(IntVec v) { return _mm512_castsi512_ps(v); }
KOMT_INLINE IntVec set1_int(int32_t x) { return _mm512_set1_epi32(x); }
KOMT_INLINE IntVec add_int(IntVec a, IntVec b) { return _mm512_add_epi32(a, b); }
KOMT_INLINE IntVec sub_int(IntVec a, IntVec b) { return _mm512_sub_epi32(a, b); }
KOMT_INLINE IntVec halve_int(IntVec a) { return _mm512_srai_epi32(a, 1); }
KOMT_INLINE IntVec to_exponent(IntVec a) { return _mm512_slli_epi32(a, 23); }

/// Evens of 2 * kLanes consecutive floats into `even`, odds into `odd`.
KOMT_INLINE void load_pairs(const float* p, Vec& even, Vec& odd) {
  const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odds = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  const Vec a = load(p);
  const Vec b = load(p + 16);
  even = _mm512_permutex2var_ps(a, evens, b);
  odd = _mm512_permutex2var_ps(a, odds, b);
}

/// Sum of the lanes as a tree: i with i + 8, then i + 4, i + 2, i + 1.
KOMT_INLINE float sum_lanes(Vec v) {
  const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

/// sum_lanes of four vectors, the same tree.
KOMT_INLINE void sum_lanes4(const Vec* v, float* sums) {
  const Vec ab = _mm512_add_ps(_mm512_shuffle_f32x4(v[0], v[1], 0x44),
                               _mm512_shuffle_f32x4(v[0], v[1], 0xee));
  const Vec cd = _mm512_add_ps(_mm512_shuffle_f32x4(v[2], v[3], 0x44),
                               _mm512_shuffle_f32x4(v[2], v[3], 0xee));
  // Four floats of each vector, a quarter apiece.
  const Vec quarters =
      _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  const Vec halves =
      _mm512_add_ps(quarters, _mm512_permute_ps(quarters, _MM_SHUFFLE(1, 0, 3, 2)));
  const Vec all = _mm512_add_ps(halves, _mm512_permute_ps(halves, _MM_SHUFFLE(2, 3, 0, 1)));
  const __m512i first = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
  _mm_storeu_ps(sums, _mm512_castps512_ps128(_mm512_permutexvar_ps(first, all)));
}

KOMT_INLINE void store_half(Half* p, Vec v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

}  // namespace komt::cpu::KOMT_ISA
