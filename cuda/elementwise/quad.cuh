// Four neighbouring elements in one access, as floats: a warp then moves 256 bytes of 16-bit or 512
// bytes of 32-bit elements at once. Pointers are aligned to four elements.
#pragma once

#include "common/element.cuh"

namespace komt::kernels {

struct Quad {
  float values[4];
  __device__ __forceinline__ float& operator[](int i) { return values[i]; }
  __device__ __forceinline__ float operator[](int i) const { return values[i]; }
};

template <class T>
__device__ __forceinline__ Quad load_quad(const T* p) {
  static_assert(sizeof(T) == 2);
  using Pair = element_pair<T>;
  const uint2 bits = *reinterpret_cast<const uint2*>(p);
  Pair low, high;
  memcpy(&low, &bits.x, sizeof(low));
  memcpy(&high, &bits.y, sizeof(high));
  const float2 a = to_float2(low);
  const float2 b = to_float2(high);
  return {{a.x, a.y, b.x, b.y}};
}
template <>
__device__ __forceinline__ Quad load_quad<float>(const float* p) {
  const float4 v = *reinterpret_cast<const float4*>(p);
  return {{v.x, v.y, v.z, v.w}};
}

template <class T>
__device__ __forceinline__ void store_quad(T* p, const Quad& q) {
  static_assert(sizeof(T) == 2);
  uint2 bits;
  bits.x = pair_bits(from_float2<T>(q[0], q[1]));
  bits.y = pair_bits(from_float2<T>(q[2], q[3]));
  *reinterpret_cast<uint2*>(p) = bits;
}
template <>
__device__ __forceinline__ void store_quad<float>(float* p, const Quad& q) {
  *reinterpret_cast<float4*>(p) = make_float4(q[0], q[1], q[2], q[3]);
}

}  // namespace komt::kernels
