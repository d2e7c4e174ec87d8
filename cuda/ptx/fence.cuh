// Ordered access to memory that other blocks (gpu) or the host (system) use at the same time.
//
// A release makes the thread's earlier writes, and those it has seen by barriers, visible to
// whoever acquires the value. The CUDA fences __threadfence_block(), __threadfence(),
// __threadfence_system() are used as they are, on both sides of an atomic. PTX ISA 8.8, memory
// consistency model.
#pragma once

#include "common/platform.cuh"

#if defined(KOMT_CUDA_EMULATED)
#include "emulator/ptx/fence.h"
#else

namespace komt::ptx {

__device__ __forceinline__ std::uint32_t load_acquire_gpu(const std::uint32_t* p) {
  std::uint32_t value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];\n" : "=r"(value) : "l"(p) : "memory");
  return value;
}

__device__ __forceinline__ void store_release_gpu(std::uint32_t* p, std::uint32_t value) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;\n" ::"l"(p), "r"(value) : "memory");
}

// To mapped pinned memory that the host polls.
__device__ __forceinline__ void store_release_system(std::uint32_t* p, std::uint32_t value) {
  asm volatile("st.release.sys.global.u32 [%0], %1;\n" ::"l"(p), "r"(value) : "memory");
}

// Adds and returns the old value; acquires what earlier adders released, releases for later ones:
// the ticket by which the last block of a group knows itself.
__device__ __forceinline__ std::uint32_t atomic_add_acq_rel_gpu(std::uint32_t* p,
                                                                std::uint32_t value) {
  std::uint32_t old;
  asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;\n"
               : "=r"(old)
               : "l"(p), "r"(value)
               : "memory");
  return old;
}

}  // namespace komt::ptx

#endif
