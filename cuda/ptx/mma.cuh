// mma.sync.m16n8k16 (sm_80+): d += a b for one warp, 16-bit factors, float accumulators.
//
// Fragments, with g = lane / 4 and t = lane % 4 (PTX ISA 9.7.14.5.8):
//   a[0] (g, 2t) (g, 2t+1)        a[1] (g+8, 2t) ..      a[2] (g, 2t+8) ..     a[3] (g+8, 2t+8) ..
//   b[0] (2t, g) (2t+1, g)        b[1] (2t+8, g) ..
//   d[0] (g, 2t)  d[1] (g, 2t+1)  d[2] (g+8, 2t)  d[3] (g+8, 2t+1)
// the lower index in the lower half of a register. a is 16x16 row-major, b 16x8 column-major: what
// ldmatrix_x4 gives of [M, K] and of [N, K] storage. All 32 lanes take part.
#pragma once

#include "common/platform.cuh"

#if defined(KOMT_CUDA_EMULATED)
#include "emulator/ptx/mma.h"
#else

namespace komt::ptx {

__device__ __forceinline__ void mma_m16n8k16_f16(float (&d)[4], const std::uint32_t (&a)[4],
                                                 const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const std::uint32_t (&a)[4],
                                                  const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace komt::ptx

#endif

namespace komt::ptx {

// The one for the element type T (half or bfloat16).
template <class T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4],
                                             const std::uint32_t (&b)[2]);
template <>
__device__ __forceinline__ void mma_m16n8k16<::__half>(float (&d)[4], const std::uint32_t (&a)[4],
                                                       const std::uint32_t (&b)[2]) {
  mma_m16n8k16_f16(d, a, b);
}
template <>
__device__ __forceinline__ void mma_m16n8k16<::__nv_bfloat16>(float (&d)[4],
                                                              const std::uint32_t (&a)[4],
                                                              const std::uint32_t (&b)[2]) {
  mma_m16n8k16_bf16(d, a, b);
}

}  // namespace komt::ptx
