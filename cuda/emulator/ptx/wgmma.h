// Host twin of ptx/wgmma.cuh. A warp's products are its own 16 rows of the warpgroup's 64; they read
// shared memory at some moment between their issue and the wait that covers them: at the last one in order,
// at either under the other schedules. Until then d holds NaN.
#pragma once

#include <type_traits>

#include "emulator/device/execution.h"
#include "emulator/ptx/address.h"

namespace komt::emulator {

struct WgmmaArgument {
  float* d;
  std::uint64_t a;
  std::uint64_t b;
  bool add;
  int columns;
  bool bfloat16;
  SourceLocation where;
};

struct WgmmaWaitArgument {
  int groups;
  SourceLocation where;
};

void wgmma_issue(void* const* arguments, unsigned mask);
void wgmma_fence(void* const* arguments, unsigned mask);
void wgmma_commit(void* const* arguments, unsigned mask);
void wgmma_wait(void* const* arguments, unsigned mask);
// By one thread, for what it has written so far.
void fence_proxy_async();

inline constexpr Collective kWgmma{"wgmma.mma_async", wgmma_issue, false, true};
inline constexpr Collective kWgmmaFence{"wgmma.fence", wgmma_fence, false, true};
inline constexpr Collective kWgmmaCommit{"wgmma.commit_group", wgmma_commit, false, true};
inline constexpr Collective kWgmmaWait{"wgmma.wait_group", wgmma_wait, false, true};

}  // namespace komt::emulator

namespace komt::ptx {

// The fields that a device reads: the swizzle, the distance of groups of 8 rows, the address.
inline std::uint64_t wgmma_operand(const void* tile) {
  return std::uint64_t{1} << 62 | std::uint64_t{1024 / 16} << 32 | std::uint64_t{1} << 16 |
         (shared_address(tile) & 0x3ffffu) >> 4;
}

inline void wgmma_fence(emulator::SourceLocation where = emulator::SourceLocation::current()) {
  emulator::warp_collective(0xffffffffu, emulator::kWgmmaFence, nullptr, where);
}

inline void wgmma_commit(emulator::SourceLocation where = emulator::SourceLocation::current()) {
  emulator::warp_collective(0xffffffffu, emulator::kWgmmaCommit, nullptr, where);
}

template <int kGroups>
inline void wgmma_wait(emulator::SourceLocation where = emulator::SourceLocation::current()) {
  emulator::WgmmaWaitArgument argument{kGroups, where};
  emulator::warp_collective(0xffffffffu, emulator::kWgmmaWait, &argument, where);
}

inline void fence_proxy_async() { emulator::fence_proxy_async(); }

template <class T, int kN>
inline void wgmma_m64k16(float (&d)[kN / 8][4], std::uint64_t a, std::uint64_t b, bool add,
                         emulator::SourceLocation where = emulator::SourceLocation::current()) {
  static_assert(kN == 64 || kN == 128 || kN == 160 || kN == 256, "what the device's wrapper has");
  emulator::WgmmaArgument argument{d[0], a, b, add, kN, !std::is_same_v<T, half>, where};
  emulator::warp_collective(0xffffffffu, emulator::kWgmma, &argument, where);
}

}  // namespace komt::ptx
