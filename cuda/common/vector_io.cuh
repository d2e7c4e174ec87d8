// Sixteen bytes at a time: the width at which a warp fills whole cache lines.
#pragma once

#include <type_traits>

#include "common/element.cuh"
#include "ptx/load_store.cuh"

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

namespace detail {

template <class T>
__device__ __forceinline__ Vector128<T> vector_from_bits(uint4 bits) {
  Vector128<T> result;
  memcpy(&result, &bits, sizeof(bits));
  return result;
}

template <class T>
__device__ __forceinline__ uint4 vector_to_bits(const Vector128<T>& x) {
  uint4 bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}

}  // namespace detail

// All pointers are 16-byte aligned; shared or global memory unless the name says otherwise.
template <class T>
__device__ __forceinline__ Vector128<T> load128(const T* p) {
  return detail::vector_from_bits<T>(*reinterpret_cast<const uint4*>(p));
}

// Global memory that no kernel running at the same time writes, read once (weights): through the
// read-only path, without a place in L1.
template <class T>
__device__ __forceinline__ Vector128<T> load128_streaming(const T* p) {
  return detail::vector_from_bits<T>(ptx::load_global_no_allocate(p));
}

template <class T>
__device__ __forceinline__ void store128(T* p, const Vector128<T>& x) {
  *reinterpret_cast<uint4*>(p) = detail::vector_to_bits(x);
}

// Global memory that is not read again soon: first to be evicted.
template <class T>
__device__ __forceinline__ void store128_streaming(T* p, const Vector128<T>& x) {
  ptx::store_global_streaming(p, detail::vector_to_bits(x));
}

}  // namespace komt
