// half (IEEE binary16): the type and its conversions, bit for bit those of cuda_fp16.h.
#pragma once

#include "emulator/device/rounding.h"
#include "emulator/device/vector_types.h"

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace komt::emulator {

inline float half_bits_to_float(std::uint16_t h) {
#if defined(__F16C__)
  return _cvtsh_ss(h);
#else
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000u) << 16;
  const std::uint32_t exponent = h >> 10 & 31u;
  const std::uint32_t mantissa = h & 0x3ffu;
  if (exponent == 31) return bits_float(sign | 0x7f800000u | mantissa << 13);
  if (exponent != 0) return bits_float(sign | (exponent + 112) << 23 | mantissa << 13);
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return sign ? -magnitude : magnitude;
#endif
}

inline std::uint16_t float_to_half_bits(float x) {
#if defined(__F16C__)
  return x == x ? _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT) : 0x7fff;
#else
  return round_to_16_bits<11, -14>(x);
#endif
}

}  // namespace komt::emulator

struct __half_raw {
  unsigned short x;
};

struct alignas(2) __half {
  unsigned short __x;

  __half() = default;
  __half(__half_raw raw) : __x(raw.x) {}
  __half(float x) : __x(komt::emulator::float_to_half_bits(x)) {}
  __half(double x) : __x(komt::emulator::round_to_16_bits<11, -14>(x)) {}
  __half(int x) : __half(static_cast<double>(x)) {}
  operator float() const { return komt::emulator::half_bits_to_float(__x); }
  operator __half_raw() const { return {__x}; }
};

struct alignas(4) __half2 {
  __half x, y;

  __half2() = default;
  __half2(__half x_, __half y_) : x(x_), y(y_) {}
};

using half = __half;
using half2 = __half2;

inline __half __ushort_as_half(unsigned short bits) { return __half_raw{bits}; }
inline unsigned short __half_as_ushort(__half x) { return x.__x; }
inline __half __short_as_half(short bits) { return __half_raw{static_cast<unsigned short>(bits)}; }
inline short __half_as_short(__half x) { return static_cast<short>(x.__x); }

inline float __half2float(__half x) { return komt::emulator::half_bits_to_float(x.__x); }
inline __half __float2half_rn(float x) { return __half(x); }
inline __half __float2half(float x) { return __half(x); }
inline __half __double2half(double x) { return __half(x); }
inline __half __int2half_rn(int x) { return __half(x); }

inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline __half2 make_half2(__half x, __half y) { return {x, y}; }
inline __half2 __half2half2(__half x) { return {x, x}; }
inline __half2 __float2half2_rn(float x) { return {__half(x), __half(x)}; }
inline __half2 __floats2half2_rn(float x, float y) { return {__half(x), __half(y)}; }
inline __half2 __float22half2_rn(float2 v) { return {__half(v.x), __half(v.y)}; }
inline float2 __half22float2(__half2 v) { return {__half2float(v.x), __half2float(v.y)}; }
inline __half __low2half(__half2 v) { return v.x; }
inline __half __high2half(__half2 v) { return v.y; }
inline float __low2float(__half2 v) { return __half2float(v.x); }
inline float __high2float(__half2 v) { return __half2float(v.y); }
