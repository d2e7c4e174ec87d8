// Host twin of ptx/load.cuh.
#pragma once

#include "emulator/device/execution.h"
#include "emulator/device/vector_types.h"

namespace komt::ptx {

__forceinline__ uint4 load_global_no_allocate(const void* p) {
  return *static_cast<const uint4*>(p);
}

__forceinline__ void prefetch_l2(const void*) {}

}  // namespace komt::ptx
