// Scores as sortable integers, and the processors that act on one score at a time.
#pragma once

#include "common/platform.cuh"

namespace komt::kernels {

// Ascending as the scores are; -0 and 0 are equal, NaN is above everything.
__device__ __forceinline__ std::uint32_t order_key(float score) {
  if (score != score) return 0xffffffffu;
  const std::uint32_t bits = score == 0.0f ? 0u : __float_as_uint(score);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// The largest is the first id with the largest score. 0 is below every score's.
__device__ __forceinline__ unsigned long long best_key(float score, int id) {
  return static_cast<unsigned long long>(order_key(score)) << 32 |
         (0xffffffffu - static_cast<std::uint32_t>(id));
}
__device__ __forceinline__ int best_id(unsigned long long key) {
  return static_cast<int>(0xffffffffu - static_cast<std::uint32_t>(key));
}

// Divisions are IEEE's whatever the compiler's flags: a token may hang on the last bit.
__device__ __forceinline__ float penalised(float score, bool seen, float penalty) {
  if (!seen) return score;
  return score < 0.0f ? __fmul_rn(score, penalty) : __fdiv_rn(score, penalty);
}

// float32(e^x) for x <= 0, by way of double: two libraries' double exponentials give the same float.
__device__ __forceinline__ float exp_rounded(float x) {
  // e^-104 is less than half of the smallest float.
  return x < -104.0f ? 0.0f : static_cast<float>(exp(static_cast<double>(x)));
}

__device__ __forceinline__ bool is_eos(int id, const std::int32_t* eos_token_ids, int num_eos) {
  for (int i = 0; i < num_eos; ++i) {
    if (eos_token_ids[i] == id) return true;
  }
  return false;
}

}  // namespace komt::kernels
