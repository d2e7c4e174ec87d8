// What CUDA adds to C++'s declarations, as a host compiler may read it.
//
// `__shared__` has no definition on purpose: shared memory is declared by KOMT_SHARED and
// KOMT_DYN_SHARED of common/platform.cuh.
#pragma once

#define __device__
#define __host__
#define __constant__ static
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

// A kernel stays a function of its own, so that the launch log and reports can name it.
#define __global__ __attribute__((noinline))
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict
