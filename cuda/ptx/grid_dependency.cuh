// Programmatic dependent launch (griddepcontrol, sm_90+; nothing before). PTX ISA 9.7.13.14.
#pragma once

#include "common/platform.cuh"

#if defined(KOMT_CUDA_EMULATED)
#include "emulator/ptx/grid_dependency.h"
#else

namespace komt::ptx {

// Waits until the kernels this one depends on have ended and their writes are visible. Every block
// of a kernel launched with programmatic_dependent_launch calls it, even when it reads nothing of
// its predecessor's: otherwise its successor isn't ordered behind its predecessor.
__device__ __forceinline__ void grid_dependency_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\n" ::: "memory");
#endif
}

// Lets the dependent kernel start once every block has called it or exited. It makes nothing
// visible: the dependent kernel's own wait does.
__device__ __forceinline__ void grid_dependency_launch() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory");
#endif
}

}  // namespace komt::ptx

#endif
