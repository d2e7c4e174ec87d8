// Named barriers: 16 per block, of which 0 is __syncthreads()'s and 1 to 15 are free.
//
// `threads` counts those that sync and those that arrive, a multiple of 32; barriers work by whole
// warps. Writes before an arrival are seen behind the sync that it completes. PTX ISA 9.7.13.1.
#pragma once

#include "common/platform.cuh"

#if defined(KOMT_CUDA_EMULATED)
#include "emulator/ptx/barrier.h"
#else

namespace komt::ptx {

__device__ __forceinline__ void barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;\n" ::"r"(id), "r"(threads) : "memory");
}

__device__ __forceinline__ void barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;\n" ::"r"(id), "r"(threads) : "memory");
}

}  // namespace komt::ptx

#endif
