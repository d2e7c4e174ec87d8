// Element types (float, half, bfloat16) as the kernels see them: storage narrow, arithmetic float.
#pragma once

#include "common/platform.cuh"

namespace komt {

using half = ::__half;
using bfloat16 = ::__nv_bfloat16;

__host__ __device__ __forceinline__ float to_float(float x) { return x; }
__host__ __device__ __forceinline__ float to_float(half x) { return __half2float(x); }
__host__ __device__ __forceinline__ float to_float(bfloat16 x) { return __bfloat162float(x); }

// Round to nearest even; beyond the type's range gives infinity, as IEEE has it.
template <class T>
__host__ __device__ __forceinline__ T from_float(float x);
template <>
__host__ __device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__host__ __device__ __forceinline__ half from_float<half>(float x) {
  return __float2half_rn(x);
}
template <>
__host__ __device__ __forceinline__ bfloat16 from_float<bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// Two neighbouring elements in one register: ElementPair<half>::type is __half2.
template <class T>
struct ElementPair;
template <>
struct ElementPair<float> {
  using type = float2;
};
template <>
struct ElementPair<half> {
  using type = __half2;
};
template <>
struct ElementPair<bfloat16> {
  using type = __nv_bfloat162;
};
template <class T>
using element_pair = typename ElementPair<T>::type;

__host__ __device__ __forceinline__ float2 to_float2(float2 x) { return x; }
__host__ __device__ __forceinline__ float2 to_float2(__half2 x) { return __half22float2(x); }
__host__ __device__ __forceinline__ float2 to_float2(__nv_bfloat162 x) {
  return __bfloat1622float2(x);
}

// from_float2<half>(x, y): x in the lower half of the register, at the lower address in memory.
template <class T>
__host__ __device__ __forceinline__ element_pair<T> from_float2(float x, float y);
template <>
__host__ __device__ __forceinline__ float2 from_float2<float>(float x, float y) {
  return make_float2(x, y);
}
template <>
__host__ __device__ __forceinline__ __half2 from_float2<half>(float x, float y) {
  return __floats2half2_rn(x, y);
}
template <>
__host__ __device__ __forceinline__ __nv_bfloat162 from_float2<bfloat16>(float x, float y) {
  return __floats2bfloat162_rn(x, y);
}

// The register that mma and ldmatrix take, from a pair of 16-bit elements.
__host__ __device__ __forceinline__ std::uint32_t pair_bits(__half2 x) {
  return static_cast<std::uint32_t>(__half_as_ushort(__low2half(x))) |
         static_cast<std::uint32_t>(__half_as_ushort(__high2half(x))) << 16;
}
__host__ __device__ __forceinline__ std::uint32_t pair_bits(__nv_bfloat162 x) {
  return static_cast<std::uint32_t>(__bfloat16_as_ushort(__low2bfloat16(x))) |
         static_cast<std::uint32_t>(__bfloat16_as_ushort(__high2bfloat16(x))) << 16;
}

}  // namespace komt
