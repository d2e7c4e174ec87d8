// The clock that all SMs of a device share. PTX ISA 10, "Special Registers: %globaltimer".
#pragma once

#include "common/platform.cuh"

#if defined(KOMT_CUDA_EMULATED)
#include "emulator/ptx/timer.h"
#else

namespace komt::ptx {

// Nanoseconds since some moment; a step may be as long as a microsecond.
__device__ __forceinline__ std::uint64_t global_timer() {
  std::uint64_t nanoseconds;
  asm volatile("mov.u64 %0, %%globaltimer;\n" : "=l"(nanoseconds)::"memory");
  return nanoseconds;
}

}  // namespace komt::ptx

#endif
