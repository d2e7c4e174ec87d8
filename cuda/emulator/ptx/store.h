// Host twin of ptx/store.cuh.
#pragma once

#include "emulator/device/execution.h"
#include "emulator/device/vector_types.h"

namespace komt::ptx {

__forceinline__ void store_global_streaming(void* p, uint4 v) { *static_cast<uint4*>(p) = v; }

}  // namespace komt::ptx
