// Arithmetic of half and bfloat16, scalar and in pairs: each operation rounded once, to nearest
// even.
#pragma once

#include "emulator/device/bfloat16.h"
#include "emulator/device/half.h"

namespace komt::emulator {

// A sum or product of two 16-bit floats is exact in double, so conversion is its only rounding. A
// quotient isn't, but 53 bits are more than twice the format's plus two: rounding it twice is
// harmless.
template <class T>
T fused_multiply_add(T a, T b, T c) {
  return T(fma_round_to_odd(float(a), float(b), float(c)));
}

template <class T>
bool is_nan(T x) {
  return float(x) != float(x);
}

// A NaN gives way to a number; two NaNs give the canonical one (PTX ISA, max).
template <class T>
T maximum(T a, T b) {
  if (is_nan(a)) return is_nan(b) ? T(double(NAN)) : b;
  if (is_nan(b)) return a;
  return float(a) > float(b) || (float(a) == float(b) && !std::signbit(float(a))) ? a : b;
}

template <class T>
T minimum(T a, T b) {
  if (is_nan(a)) return is_nan(b) ? T(double(NAN)) : b;
  if (is_nan(b)) return a;
  return float(a) < float(b) || (float(a) == float(b) && std::signbit(float(a))) ? a : b;
}

}  // namespace komt::emulator

#define KOMT_EMULATOR_FLOAT16_MATH(T, T2)                                                        \
  inline T __hadd(T a, T b) { return T(double(float(a)) + double(float(b))); }                   \
  inline T __hsub(T a, T b) { return T(double(float(a)) - double(float(b))); }                   \
  inline T __hmul(T a, T b) { return T(double(float(a)) * double(float(b))); }                   \
  inline T __hdiv(T a, T b) { return T(double(float(a)) / double(float(b))); }                   \
  inline T __hfma(T a, T b, T c) { return komt::emulator::fused_multiply_add(a, b, c); }         \
  inline T __hneg(T a) {                                                                         \
    a.__x = static_cast<unsigned short>(a.__x ^ 0x8000u);                                        \
    return a;                                                                                    \
  }                                                                                              \
  inline T __habs(T a) {                                                                         \
    a.__x = static_cast<unsigned short>(a.__x & 0x7fffu);                                        \
    return a;                                                                                    \
  }                                                                                              \
  inline T __hmax(T a, T b) { return komt::emulator::maximum(a, b); }                            \
  inline T __hmin(T a, T b) { return komt::emulator::minimum(a, b); }                            \
  inline bool __heq(T a, T b) { return float(a) == float(b); }                                   \
  inline bool __hne(T a, T b) { return float(a) < float(b) || float(a) > float(b); }             \
  inline bool __hlt(T a, T b) { return float(a) < float(b); }                                    \
  inline bool __hle(T a, T b) { return float(a) <= float(b); }                                   \
  inline bool __hgt(T a, T b) { return float(a) > float(b); }                                    \
  inline bool __hge(T a, T b) { return float(a) >= float(b); }                                   \
  inline bool __hisnan(T a) { return komt::emulator::is_nan(a); }                                \
  inline int __hisinf(T a) {                                                                     \
    return (a.__x & 0x7fffu) != T(double(INFINITY)).__x ? 0 : (a.__x & 0x8000u) ? -1 : 1;        \
  }                                                                                              \
  inline T operator+(T a, T b) { return __hadd(a, b); }                                          \
  inline T operator-(T a, T b) { return __hsub(a, b); }                                          \
  inline T operator*(T a, T b) { return __hmul(a, b); }                                          \
  inline T operator/(T a, T b) { return __hdiv(a, b); }                                          \
  inline T operator-(T a) { return __hneg(a); }                                                  \
  inline T& operator+=(T& a, T b) { return a = __hadd(a, b); }                                   \
  inline T& operator-=(T& a, T b) { return a = __hsub(a, b); }                                   \
  inline T& operator*=(T& a, T b) { return a = __hmul(a, b); }                                   \
  inline bool operator==(T a, T b) { return __heq(a, b); }                                       \
  inline bool operator!=(T a, T b) { return !__heq(a, b); }                                      \
  inline bool operator<(T a, T b) { return __hlt(a, b); }                                        \
  inline bool operator<=(T a, T b) { return __hle(a, b); }                                       \
  inline bool operator>(T a, T b) { return __hgt(a, b); }                                        \
  inline bool operator>=(T a, T b) { return __hge(a, b); }                                       \
  inline T2 __hadd2(T2 a, T2 b) { return {__hadd(a.x, b.x), __hadd(a.y, b.y)}; }                 \
  inline T2 __hsub2(T2 a, T2 b) { return {__hsub(a.x, b.x), __hsub(a.y, b.y)}; }                 \
  inline T2 __hmul2(T2 a, T2 b) { return {__hmul(a.x, b.x), __hmul(a.y, b.y)}; }                 \
  inline T2 __hfma2(T2 a, T2 b, T2 c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; } \
  inline T2 __hneg2(T2 a) { return {__hneg(a.x), __hneg(a.y)}; }                                 \
  inline T2 __habs2(T2 a) { return {__habs(a.x), __habs(a.y)}; }                                 \
  inline T2 __hmax2(T2 a, T2 b) { return {__hmax(a.x, b.x), __hmax(a.y, b.y)}; }                 \
  inline T2 __hmin2(T2 a, T2 b) { return {__hmin(a.x, b.x), __hmin(a.y, b.y)}; }                 \
  inline T2 operator+(T2 a, T2 b) { return __hadd2(a, b); }                                      \
  inline T2 operator-(T2 a, T2 b) { return __hsub2(a, b); }                                      \
  inline T2 operator*(T2 a, T2 b) { return __hmul2(a, b); }

KOMT_EMULATOR_FLOAT16_MATH(__half, __half2)
KOMT_EMULATOR_FLOAT16_MATH(__nv_bfloat16, __nv_bfloat162)

#undef KOMT_EMULATOR_FLOAT16_MATH
