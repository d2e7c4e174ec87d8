// Global loads with cache hints. Addresses are 16-byte aligned; a prefetch's need not be.
#pragma once

#include "common/platform.cuh"

#if defined(KOMT_CUDA_EMULATED)
#include "emulator/ptx/load.h"
#else

namespace komt::ptx {

// Read-only for the kernel's lifetime; takes no place in L1, asks L2 for the 256 bytes around it.
// Not volatile: the compiler may hoist and batch these loads.
__device__ __forceinline__ uint4 load_global_no_allocate(const void* p) {
  uint4 v;
  asm("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];\n"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(p));
  return v;
}

// Asks for the cache line around p in L2, where other kernels' writes are seen: nothing is kept that
// could grow stale. p points into allocated memory.
__device__ __forceinline__ void prefetch_l2(const void* p) {
  asm volatile("prefetch.global.L2 [%0];\n" ::"l"(p));
}

}  // namespace komt::ptx

#endif
