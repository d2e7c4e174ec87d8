// Sixteen bytes at a time: the width at which a warp fills whole cache lines.
#pragma once

#include <type_traits>

#include "common/platform.cuh"

namespace komt {

// 16 / sizeof(T) elements held in registers. Indices should be compile-time constants once loops
// are unrolled, or the compiler moves the array to local memory.
template <class T>
struct alignas(16) Vector128 {
  static_assert(std::is_trivially_copyable_v<T> && 16 % sizeof(T) == 0);
  static constexpr int kSize = 16 / static_cast<int>(sizeof(T));

  T values[kSize];

  __host__ __device__ __forceinline__ T& operator[](int i) { return values[i]; }
  __host__ __device__ __forceinline__ const T& operator[](int i) const { return values[i]; }
};

// Pointers are 16-byte aligned, to shared or global memory.
template <class T>
__device__ __forceinline__ Vector128<T> load128(const T* p) {
  const uint4 bits = *reinterpret_cast<const uint4*>(p);
  Vector128<T> result;
  memcpy(&result, &bits, sizeof(bits));
  return result;
}

template <class T>
__device__ __forceinline__ void store128(T* p, const Vector128<T>& x) {
  uint4 bits;
  memcpy(&bits, &x, sizeof(bits));
  *reinterpret_cast<uint4*>(p) = bits;
}

}  // namespace komt
