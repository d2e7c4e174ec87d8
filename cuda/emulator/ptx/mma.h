// Host twin of ptx/mma.cuh. Products are exact, sums in float in ascending k: a device's order and
// its truncations differ, within what the tests' tolerances allow.
#pragma once

#include "emulator/device/execution.h"

namespace komt::emulator {

struct MmaArgument {
  float* d;
  const std::uint32_t* a;
  const std::uint32_t* b;
};

void mma_m16n8k16_f16(void* const* arguments, unsigned mask);
void mma_m16n8k16_bf16(void* const* arguments, unsigned mask);

inline constexpr Collective kMmaF16{"mma.m16n8k16.f16", mma_m16n8k16_f16, false, true};
inline constexpr Collective kMmaBf16{"mma.m16n8k16.bf16", mma_m16n8k16_bf16, false, true};

}  // namespace komt::emulator

namespace komt::ptx {

inline void mma_m16n8k16_f16(float (&d)[4], const std::uint32_t (&a)[4],
                             const std::uint32_t (&b)[2],
                             emulator::SourceLocation where = emulator::SourceLocation::current()) {
  emulator::MmaArgument argument{d, a, b};
  emulator::warp_collective(0xffffffffu, emulator::kMmaF16, &argument, where);
}

inline void mma_m16n8k16_bf16(
    float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2],
    emulator::SourceLocation where = emulator::SourceLocation::current()) {
  emulator::MmaArgument argument{d, a, b};
  emulator::warp_collective(0xffffffffu, emulator::kMmaBf16, &argument, where);
}

}  // namespace komt::ptx
