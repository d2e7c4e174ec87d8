// Which of the blocks that share a task comes last, and so finds what all of them have written.
#pragma once

#include "common/platform.cuh"
#include "ptx/fence.cuh"

namespace komt {

// Called by all threads of each of `blocks` blocks, after a barrier behind what they write for the last
// one (or when thread 0 alone writes). True in the last to come, where all of it can be read; the ticket is
// then zero again. `is_last` is in shared memory.
__device__ __forceinline__ bool is_last_block(std::uint32_t* ticket, int blocks, bool& is_last) {
  if (threadIdx.x == 0) {
    __threadfence();
    is_last = ptx::atomic_add_acq_rel_gpu(ticket, 1) == static_cast<std::uint32_t>(blocks - 1);
    if (is_last) *ticket = 0;
  }
  __syncthreads();
  if (is_last) __threadfence();
  return is_last;
}

}  // namespace komt
