// Host twin of ptx/timer.cuh.
#pragma once

#include <chrono>
#include <cstdint>

#include "emulator/device/execution.h"

namespace komt::ptx {

// A thread that looks at the clock lets others go on: loops that wait for a time must not starve
// them.
inline std::uint64_t global_timer() {
  emulator::scheduling_point();
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
}

}  // namespace komt::ptx
