// mma.sync.m16n8k16: fragments to matrices, a product by rows, and back.
#include <cstring>

#include "emulator/device/bfloat16.h"
#include "emulator/device/half.h"
#include "emulator/ptx/mma.h"

namespace komt::emulator {

namespace {

constexpr int kM = 16;
constexpr int kN = 8;
constexpr int kK = 16;

// GCC's and Clang's vector extension: lowered to whatever the machine has. Left to themselves the
// compilers vectorise along k, which the order of the sums forbids.
using RowOfB = float __attribute__((vector_size(kN * sizeof(float))));

struct HalfRow {
  static void widen(const std::uint16_t* source, float* target) {
#if defined(__F16C__) && defined(__AVX__)
    _mm256_store_ps(target,
                    _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(source))));
#else
    for (int i = 0; i < 8; ++i) target[i] = half_bits_to_float(source[i]);
#endif
  }
};

struct Bfloat16Row {
  static void widen(const std::uint16_t* source, float* target) {
    std::uint32_t bits[8];
    for (int i = 0; i < 8; ++i) bits[i] = static_cast<std::uint32_t>(source[i]) << 16;
    std::memcpy(target, bits, sizeof(bits));
  }
};

template <class Row>
void multiply(void* const* arguments) {
  alignas(32) std::uint32_t a_bits[kM][kK / 2];
  alignas(32) std::uint16_t b_bits[kK][kN];
  alignas(32) float c[kM][kN];
  for (int lane = 0; lane < 32; ++lane) {
    const auto* argument = static_cast<const MmaArgument*>(arguments[lane]);
    const int g = lane / 4;
    const int t = lane % 4;
    a_bits[g][t] = argument->a[0];
    a_bits[g + 8][t] = argument->a[1];
    a_bits[g][t + 4] = argument->a[2];
    a_bits[g + 8][t + 4] = argument->a[3];
    b_bits[2 * t][g] = static_cast<std::uint16_t>(argument->b[0]);
    b_bits[2 * t + 1][g] = static_cast<std::uint16_t>(argument->b[0] >> 16);
    b_bits[2 * t + 8][g] = static_cast<std::uint16_t>(argument->b[1]);
    b_bits[2 * t + 9][g] = static_cast<std::uint16_t>(argument->b[1] >> 16);
    std::memcpy(&c[g][2 * t], argument->d, 2 * sizeof(float));
    std::memcpy(&c[g + 8][2 * t], argument->d + 2, 2 * sizeof(float));
  }
  alignas(32) float a[kM][kK];
  RowOfB b[kK];
  for (int m = 0; m < kM; ++m) {
    alignas(32) std::uint16_t row_bits[kK];
    std::memcpy(row_bits, a_bits[m], sizeof(row_bits));
    Row::widen(row_bits, a[m]);
    Row::widen(row_bits + 8, a[m] + 8);
  }
  for (int k = 0; k < kK; ++k) Row::widen(b_bits[k], reinterpret_cast<float*>(&b[k]));
  for (int m = 0; m < kM; ++m) {
    RowOfB sums;
    std::memcpy(&sums, c[m], sizeof(sums));
    for (int k = 0; k < kK; ++k) sums += a[m][k] * b[k];
    std::memcpy(c[m], &sums, sizeof(sums));
  }
  for (int lane = 0; lane < 32; ++lane) {
    auto* argument = static_cast<MmaArgument*>(arguments[lane]);
    std::memcpy(argument->d, &c[lane / 4][lane % 4 * 2], 2 * sizeof(float));
    std::memcpy(argument->d + 2, &c[lane / 4 + 8][lane % 4 * 2], 2 * sizeof(float));
  }
}

}  // namespace

void mma_m16n8k16_f16(void* const* arguments, unsigned) { multiply<HalfRow>(arguments); }

void mma_m16n8k16_bf16(void* const* arguments, unsigned) { multiply<Bfloat16Row>(arguments); }

}  // namespace komt::emulator
