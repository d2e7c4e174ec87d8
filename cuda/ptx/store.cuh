// Global stores with cache hints. Addresses are 16-byte aligned.
#pragma once

#include "common/platform.cuh"

#if defined(KOMT_CUDA_EMULATED)
#include "emulator/ptx/store.h"
#else

namespace komt::ptx {

// For what nobody reads soon: its lines are the first to leave L2 again.
__device__ __forceinline__ void store_global_streaming(void* p, uint4 v) {
  asm volatile("st.global.cs.v4.u32 [%0], {%1, %2, %3, %4};\n" ::"l"(p), "r"(v.x), "r"(v.y),
               "r"(v.z), "r"(v.w)
               : "memory");
}

}  // namespace komt::ptx

#endif
