// Device functions that need nothing but their arguments: those that kernels use, bits and fast math.
//
// The fast ones are approximations on a device, with errors the CUDA C++ Programming Guide bounds; here
// they are the host's accurate functions. Tests' tolerances are set for the device.
#pragma once

#include <bit>
#include <cmath>
#include <type_traits>

#include "emulator/device/rounding.h"

template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(b) < static_cast<T>(a) ? static_cast<T>(b) : static_cast<T>(a);
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  return static_cast<T>(a) < static_cast<T>(b) ? static_cast<T>(b) : static_cast<T>(a);
}

inline int __popc(unsigned x) { return std::popcount(x); }
inline unsigned __float_as_uint(float x) { return komt::emulator::float_bits(x); }
inline float __uint_as_float(unsigned x) { return komt::emulator::bits_float(x); }

inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return std::exp(x); }
