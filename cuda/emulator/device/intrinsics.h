// Device functions that need nothing but their arguments: bits, casts, fast math, cached loads.
//
// The fast ones (__expf, rsqrtf, ...) are approximations on a device, with errors the CUDA C++
// Programming Guide bounds; here they are the host's accurate functions. Tests' tolerances are set
// for the device.
#pragma once

#include <bit>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "emulator/device/execution.h"
#include "emulator/device/rounding.h"

#ifndef CUDART_INF_F
#define CUDART_INF_F (::komt::emulator::bits_float(0x7f800000u))
#define CUDART_NAN_F (::komt::emulator::bits_float(0x7fffffffu))
#endif

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
inline int __popcll(unsigned long long x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return std::countl_zero(static_cast<unsigned long long>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline int __ffsll(long long x) {
  return x == 0 ? 0 : std::countr_zero(static_cast<unsigned long long>(x)) + 1;
}
inline unsigned __brev(unsigned x) {
  unsigned result = 0;
  for (int i = 0; i < 32; ++i) result |= (x >> i & 1u) << (31 - i);
  return result;
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const std::uint64_t bytes = static_cast<std::uint64_t>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned nibble = selector >> (4 * i) & 15u;
    unsigned byte = static_cast<unsigned>(bytes >> (8 * (nibble & 7u))) & 255u;
    if (nibble & 8u) byte = byte & 128u ? 255u : 0u;
    result |= byte << (8 * i);
  }
  return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<std::uint64_t>(high) << 32 | low) << (shift & 31u) >>
                               32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<std::uint64_t>(high) << 32 | low) >> (shift & 31u));
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<std::uint64_t>(a) * b >> 32);
}
inline int __mulhi(int a, int b) {
  return static_cast<int>(static_cast<std::int64_t>(a) * b >> 32);
}

inline unsigned __float_as_uint(float x) { return komt::emulator::float_bits(x); }
inline int __float_as_int(float x) { return static_cast<int>(komt::emulator::float_bits(x)); }
inline float __uint_as_float(unsigned x) { return komt::emulator::bits_float(x); }
inline float __int_as_float(int x) { return komt::emulator::bits_float(static_cast<unsigned>(x)); }
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyint(x)); }
inline int __float2int_rd(float x) { return static_cast<int>(std::floor(x)); }
inline int __float2int_ru(float x) { return static_cast<int>(std::ceil(x)); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }
inline unsigned __float2uint_rn(float x) { return static_cast<unsigned>(std::nearbyint(x)); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __frsqrt_rn(float x) { return static_cast<float>(1.0 / std::sqrt(double{x})); }
inline float rsqrtf(float x) { return static_cast<float>(1.0 / std::sqrt(double{x})); }
inline float __expf(float x) { return std::exp(x); }
inline float __exp10f(float x) { return std::pow(10.0f, x); }
inline float __logf(float x) { return std::log(x); }
inline float __log2f(float x) { return std::log2(x); }
inline float __powf(float x, float y) { return std::pow(x, y); }
inline float __sinf(float x) { return std::sin(x); }
inline float __cosf(float x) { return std::cos(x); }
inline void __sincosf(float x, float* s, float* c) {
  *s = std::sin(x);
  *c = std::cos(x);
}
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline float fdividef(float a, float b) { return a / b; }

// Loads and stores with cache operators differ from plain ones in speed alone.
#define KOMT_EMULATOR_LOAD(name)       \
  template <class T>                   \
  __forceinline__ T name(const T* p) { \
    return *p;                         \
  }
KOMT_EMULATOR_LOAD(__ldg)
KOMT_EMULATOR_LOAD(__ldca)
KOMT_EMULATOR_LOAD(__ldcg)
KOMT_EMULATOR_LOAD(__ldcs)
KOMT_EMULATOR_LOAD(__ldlu)
KOMT_EMULATOR_LOAD(__ldcv)
#undef KOMT_EMULATOR_LOAD

#define KOMT_EMULATOR_STORE(name)                                         \
  template <class T>                                                      \
  __forceinline__ void name(T* p, const std::type_identity_t<T>& value) { \
    *p = value;                                                           \
  }
KOMT_EMULATOR_STORE(__stwb)
KOMT_EMULATOR_STORE(__stcg)
KOMT_EMULATOR_STORE(__stcs)
KOMT_EMULATOR_STORE(__stwt)
#undef KOMT_EMULATOR_STORE

inline long long clock64() { return std::chrono::steady_clock::now().time_since_epoch().count(); }
