// Correct rounding to the 16-bit floating point formats, from exact intermediate results.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace komt::emulator {

// Rounds to nearest even in the IEEE format of kPrecision significand bits (the hidden one
// included) whose smallest normal number is 2^kMinExponent and whose width is 16 bits. NaN becomes
// 0x7fff, the canonical NaN of PTX's cvt.
template <int kPrecision, int kMinExponent>
inline std::uint16_t round_to_16_bits(double x) {
  if (x != x) return 0x7fff;
  constexpr unsigned kInfinity = (0x7fffu >> (kPrecision - 1)) << (kPrecision - 1);
  const unsigned sign = std::signbit(x) ? 0x8000u : 0;
  x = std::fabs(x);
  if (x == 0) return static_cast<std::uint16_t>(sign);
  if (std::isinf(x)) return static_cast<std::uint16_t>(sign | kInfinity);
  const int exponent = std::ilogb(x) > kMinExponent ? std::ilogb(x) : kMinExponent;
  // At most 2^kPrecision; a carry into the next binade falls out of the addition below.
  const double significand = std::nearbyint(std::ldexp(x, kPrecision - 1 - exponent));
  const double magnitude =
      significand + std::ldexp(static_cast<double>(exponent - kMinExponent), kPrecision - 1);
  return static_cast<std::uint16_t>(
      sign | (magnitude >= kInfinity ? kInfinity : static_cast<unsigned>(magnitude)));
}

// a b + c where a b is exact in double: rounded to odd, so that rounding once more to a format of
// at most 51 bits gives what a single rounding of the exact value gives (Boldo and Melquiond,
// 2008).
inline double fma_round_to_odd(double a, double b, double c) {
  const double product = a * b;
  const double sum = product + c;
  if (!std::isfinite(sum)) return sum;
  const double c_part = sum - product;
  const double error = (product - (sum - c_part)) + (c - c_part);
  if (error == 0) return sum;
  std::uint64_t bits;
  std::memcpy(&bits, &sum, sizeof(bits));
  if ((bits & 1) == 0) bits += ((error > 0) == (sum > 0)) ? 1 : std::uint64_t{0} - 1;
  double odd;
  std::memcpy(&odd, &bits, sizeof(odd));
  return odd;
}

inline std::uint32_t float_bits(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

inline float bits_float(std::uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

}  // namespace komt::emulator
