// Host twin of ptx/fence.cuh: a relaxed access between fences, which is what the ISA's acquire and
// release forms are defined to be as strong as.
#pragma once

#include "emulator/device/execution.h"

namespace komt::ptx {

inline std::uint32_t load_acquire_gpu(const std::uint32_t* p) {
  emulator::scheduling_point();
  const std::uint32_t value = __atomic_load_n(p, __ATOMIC_RELAXED);
  emulator::fence(emulator::FenceScope::kDevice);
  return value;
}

inline void store_release_gpu(std::uint32_t* p, std::uint32_t value) {
  emulator::fence(emulator::FenceScope::kDevice);
  __atomic_store_n(p, value, __ATOMIC_RELAXED);
}

inline void store_release_system(std::uint32_t* p, std::uint32_t value) {
  emulator::fence(emulator::FenceScope::kSystem);
  __atomic_store_n(p, value, __ATOMIC_RELAXED);
}

inline std::uint32_t atomic_add_acq_rel_gpu(std::uint32_t* p, std::uint32_t value) {
  emulator::scheduling_point();
  emulator::fence(emulator::FenceScope::kDevice);
  const std::uint32_t old = __atomic_fetch_add(p, value, __ATOMIC_RELAXED);
  emulator::fence(emulator::FenceScope::kDevice);
  return old;
}

}  // namespace komt::ptx
