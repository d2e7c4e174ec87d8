// stmatrix (sm_90+): the inverse of ldmatrix, with the same lanes, rows and fragments.
//
// Before sm_90 the same rows are written with plain stores, after each lane has fetched the
// addresses of the rows it holds a part of. All 32 lanes take part. PTX ISA 9.7.14.5.16.
#pragma once

#include "common/platform.cuh"

#if defined(KOMT_CUDA_EMULATED)
#include "emulator/ptx/stmatrix.h"
#else
#include "ptx/address.cuh"

namespace komt::ptx {

namespace detail {

__device__ __forceinline__ void store_fragment(std::uint32_t fragment, std::uint32_t row_address,
                                               int matrix, bool transposed) {
  const unsigned lane = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z) & 31u;
  if (!transposed) {
    const std::uint32_t row = __shfl_sync(0xffffffffu, row_address, matrix * 8 + lane / 4);
    asm volatile("st.shared.b32 [%0], %1;\n" ::"r"(row + lane % 4 * 4), "r"(fragment) : "memory");
  } else {
    const std::uint32_t low = __shfl_sync(0xffffffffu, row_address, matrix * 8 + lane % 4 * 2);
    const std::uint32_t high = __shfl_sync(0xffffffffu, row_address, matrix * 8 + lane % 4 * 2 + 1);
    asm volatile("st.shared.b16 [%0], %1;\n" ::"r"(low + lane / 4 * 2),
                 "h"(static_cast<unsigned short>(fragment))
                 : "memory");
    asm volatile("st.shared.b16 [%0], %1;\n" ::"r"(high + lane / 4 * 2),
                 "h"(static_cast<unsigned short>(fragment >> 16))
                 : "memory");
  }
}

}  // namespace detail

__device__ __forceinline__ void stmatrix_x2(void* row, const std::uint32_t (&r)[2]) {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1, %2};\n" ::"r"(shared_address(row)),
      "r"(r[0]), "r"(r[1])
      : "memory");
#else
#pragma unroll
  for (int i = 0; i < 2; ++i) detail::store_fragment(r[i], shared_address(row), i, false);
#endif
}

__device__ __forceinline__ void stmatrix_x4(void* row, const std::uint32_t (&r)[4]) {
#if __CUDA_ARCH__ >= 900
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};\n" ::"r"(
                   shared_address(row)),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
#else
#pragma unroll
  for (int i = 0; i < 4; ++i) detail::store_fragment(r[i], shared_address(row), i, false);
#endif
}

__device__ __forceinline__ void stmatrix_x4_trans(void* row, const std::uint32_t (&r)[4]) {
#if __CUDA_ARCH__ >= 900
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};\n" ::"r"(
                   shared_address(row)),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
#else
#pragma unroll
  for (int i = 0; i < 4; ++i) detail::store_fragment(r[i], shared_address(row), i, true);
#endif
}

}  // namespace komt::ptx

#endif
