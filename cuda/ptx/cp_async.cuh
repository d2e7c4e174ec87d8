// cp.async (sm_80+): copies from global to shared memory that bypass registers, in groups.
//
// A copy's bytes may be read by the issuing thread after cp_async_wait<N>() has covered its group,
// and by the block's other threads after a barrier behind that. PTX ISA 9.7.9.25.3.
#pragma once

#include "common/platform.cuh"

#if defined(KOMT_CUDA_EMULATED)
#include "emulator/ptx/cp_async.h"
#else
#include "ptx/address.cuh"

namespace komt::ptx {

// Copies kBytes (4, 8 or 16) to `shared_destination`; both addresses are aligned to kBytes. 16
// bytes go past L1 (.cg), fewer through it (.ca, the only form the ISA has).
template <int kBytes>
__device__ __forceinline__ void cp_async(void* shared_destination, const void* global_source) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;\n" ::"r"(
                     shared_address(shared_destination)),
                 "l"(global_source)
                 : "memory");
  } else {
    asm volatile(
        "cp.async.ca.shared.global [%0], [%1], %2;\n" ::"r"(shared_address(shared_destination)),
        "l"(global_source), "n"(kBytes)
        : "memory");
  }
}

// Copies the first source_bytes (0 to kBytes) and fills the rest of kBytes with zeros. With 0 the
// source isn't read, but must still be a valid, aligned address.
template <int kBytes>
__device__ __forceinline__ void cp_async_zfill(void* shared_destination, const void* global_source,
                                               int source_bytes) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;\n" ::"r"(
                     shared_address(shared_destination)),
                 "l"(global_source), "r"(source_bytes)
                 : "memory");
  } else {
    asm volatile(
        "cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(shared_address(shared_destination)),
        "l"(global_source), "n"(kBytes), "r"(source_bytes)
        : "memory");
  }
}

// Closes the group of the thread's copies since the last commit; an empty group counts too.
__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}

// Waits until at most kGroups of the thread's latest groups are still in flight.
template <int kGroups>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kGroups) : "memory");
}

}  // namespace komt::ptx

#endif
