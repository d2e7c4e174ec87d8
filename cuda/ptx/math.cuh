// Approximate functions of the special function unit. PTX ISA 9.7.3.
#pragma once

#include "common/platform.cuh"

#if defined(KOMT_CUDA_EMULATED)
#include "emulator/ptx/math.h"
#else

namespace komt::ptx {

// 2^x with a relative error of at most 2^-22; subnormal arguments and results count as zero. One
// instruction, where exp2f() spends three more on subnormals. 2^-infinity is 0.
__device__ __forceinline__ float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace komt::ptx

#endif
