// Reductions whose order is fixed by the shape of the block alone, so that a result repeats bit for
// bit: a butterfly over the lanes of a warp, then the warps in ascending order.
#pragma once

#include "common/platform.cuh"

namespace komt {

inline constexpr unsigned kFullWarp = 0xffffffffu;

struct Sum {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};

// Reduces over groups of kWidth neighbouring lanes (a power of two up to 32); every lane of a group
// gets the group's result, the same bits. All 32 lanes of the warp take part.
template <class Op, int kWidth = 32, class T>
__device__ __forceinline__ T warp_reduce(T value, Op op = {}) {
  static_assert(kWidth > 0 && kWidth <= 32 && (kWidth & (kWidth - 1)) == 0);
#pragma unroll
  for (int offset = kWidth / 2; offset > 0; offset /= 2) {
    value = op(value, __shfl_xor_sync(kFullWarp, value, offset));
  }
  return value;
}

template <int kWidth = 32, class T>
__device__ __forceinline__ T warp_sum(T value) {
  return warp_reduce<Sum, kWidth>(value);
}
template <int kWidth = 32, class T>
__device__ __forceinline__ T warp_max(T value) {
  return warp_reduce<Max, kWidth>(value);
}

// Reduces over a one-dimensional block of kThreads threads (a multiple of 32); every thread gets
// the result. `scratch` is shared memory of kThreads / 32 elements; it may be written again only
// after another __syncthreads().
template <class Op, int kThreads, class T>
__device__ __forceinline__ T block_reduce(T value, T* scratch, Op op = {}) {
  static_assert(kThreads % 32 == 0 && kThreads >= 32 && kThreads <= 1024);
  value = warp_reduce<Op>(value, op);
  if constexpr (kThreads == 32) return value;
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  T result = scratch[0];
#pragma unroll
  for (int warp = 1; warp < kThreads / 32; ++warp) result = op(result, scratch[warp]);
  return result;
}

template <int kThreads, class T>
__device__ __forceinline__ T block_sum(T value, T* scratch) {
  return block_reduce<Sum, kThreads>(value, scratch);
}
template <int kThreads, class T>
__device__ __forceinline__ T block_max(T value, T* scratch) {
  return block_reduce<Max, kThreads>(value, scratch);
}

}  // namespace komt
