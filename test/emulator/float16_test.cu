// half and bfloat16: every value there and back, and rounding against exact arithmetic.
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "common/element.cuh"
#include "harness.h"

namespace komt::test {
namespace {

// The 16-bit neighbour to which x rounds, found among all values of the format: slow, and
// independent of the code under test.
template <class T>
std::uint16_t nearest(double x) {
  std::uint16_t best = 0;
  double best_distance = std::numeric_limits<double>::infinity();
  for (unsigned bits = 0; bits < 0x8000u; ++bits) {
    T value;
    value.__x = static_cast<unsigned short>(bits);
    const double candidate = double(float(value));
    if (std::isnan(candidate) || std::isinf(candidate)) continue;
    const double distance = std::fabs(std::fabs(x) - candidate);
    if (distance < best_distance || (distance == best_distance && bits % 2 == 0)) {
      best = static_cast<std::uint16_t>(bits);
      best_distance = distance;
    }
  }
  return static_cast<std::uint16_t>(best | (std::signbit(x) ? 0x8000u : 0));
}

template <class T>
void check_round_trip() {
  int wrong = 0;
  for (unsigned bits = 0; bits < 0x10000u; ++bits) {
    T value;
    value.__x = static_cast<unsigned short>(bits);
    const float wide = to_float(value);
    const T back = from_float<T>(wide);
    wrong += std::isnan(wide) ? back.__x != 0x7fff : back.__x != bits;
    const T from_double(double{wide});
    wrong += from_double.__x != back.__x;
  }
  EXPECT_EQ(wrong, 0);
}

TEST(every_half_survives_the_way_through_float) { check_round_trip<half>(); }
TEST(every_bfloat16_survives_the_way_through_float) { check_round_trip<bfloat16>(); }

template <class T>
void check_arithmetic(double largest_magnitude) {
  std::mt19937 generator(3);
  std::uniform_real_distribution<double> exponent(-12.0, std::log2(largest_magnitude));
  const auto draw = [&] {
    const double magnitude = std::exp2(exponent(generator));
    return T(generator() % 2 == 0 ? magnitude : -magnitude);
  };
  int wrong = 0;
  for (int i = 0; i < 40; ++i) {
    const T a = draw();
    const T b = draw();
    const T c = draw();
    const double x = double(float(a));
    const double y = double(float(b));
    wrong += __hadd(a, b).__x != nearest<T>(x + y);
    wrong += __hsub(a, b).__x != nearest<T>(x - y);
    wrong += __hmul(a, b).__x != nearest<T>(x * y);
    // Exact in long double for these exponents.
    wrong += __hfma(a, b, c).__x !=
             nearest<T>(static_cast<double>(static_cast<long double>(x) * y + double(float(c))));
    const float narrow = static_cast<float>(x * y);
    wrong += from_float<T>(narrow).__x != nearest<T>(narrow);
  }
  EXPECT_EQ(wrong, 0);
}

TEST(half_arithmetic_rounds_once) {
  if (emulator::seed() == 0) check_arithmetic<half>(64.0);
}
TEST(bfloat16_arithmetic_rounds_once) {
  if (emulator::seed() == 0) check_arithmetic<bfloat16>(64.0);
}

TEST(ties_go_to_even_and_overflow_to_infinity) {
  EXPECT_EQ(int{from_float<half>(2049.0f).__x}, 0x6800);  // 2048, between 2048 and 2050
  EXPECT_EQ(int{from_float<half>(2051.0f).__x}, 0x6802);  // 2052, between 2050 and 2052
  EXPECT_EQ(int{from_float<half>(65519.0f).__x}, 0x7bff);
  EXPECT_EQ(int{from_float<half>(65520.0f).__x}, 0x7c00);
  EXPECT_EQ(int{from_float<half>(0x1p-25f).__x}, 0x0000);  // half the smallest subnormal
  EXPECT_EQ(int{from_float<half>(0x1.8p-25f).__x}, 0x0001);
  EXPECT_EQ(int{from_float<bfloat16>(257.0f).__x}, 0x4380);
  EXPECT_EQ(int{from_float<bfloat16>(259.0f).__x}, 0x4382);
  EXPECT_EQ(int{from_float<bfloat16>(3.4e38f).__x}, 0x7f80);
  // 1 + 2^-11 is a tie, which goes to even; a hair more goes up.
  const half one = from_float<half>(1.0f);
  const half half_ulp = from_float<half>(0x1p-11f);
  EXPECT_EQ(int{__hfma(half_ulp, one, one).__x}, 0x3c00);
  EXPECT_EQ(int{__hfma(half_ulp, from_float<half>(1.0f + 0x1p-10f), one).__x}, 0x3c01);
}

TEST(pairs_keep_the_first_element_in_the_lower_half) {
  EXPECT_EQ(pair_bits(from_float2<half>(1.0f, 2.0f)), 0x40003c00u);
  EXPECT_EQ(pair_bits(from_float2<bfloat16>(1.0f, 2.0f)), 0x40003f80u);
  const float2 wide = to_float2(from_float2<bfloat16>(1.5f, -2.0f));
  EXPECT_EQ(wide.x, 1.5f);
  EXPECT_EQ(wide.y, -2.0f);
}

}  // namespace
}  // namespace komt::test
