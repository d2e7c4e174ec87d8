// The one header that every kernel file includes first: the CUDA language, on a device or on the
// host. Under nvcc it is the toolkit's; with KOMT_CUDA_EMULATED it is cuda/emulator/, which needs
// no toolkit, so that the same file compiles with a plain C++20 compiler.
//
// Two things cannot be spelled alike in both worlds and have macros here: shared memory and (in
// launch.cuh) the launch. Neither a bare `__shared__` nor `<<<>>>` compiles in the emulator.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(KOMT_CUDA_EMULATED)

#include "emulator/device/language.h"

// KOMT_SHARED(float, partial, [32]);  KOMT_SHARED(int, ticket, );
// Static shared memory of the block, 128-byte aligned, uninitialised (NaN under the emulator).
#define KOMT_SHARED(T, name, ...)                                                              \
  using name##_shared_type = T __VA_ARGS__;                                                    \
  static constinit ::komt::emulator::SharedSite name##_shared_site{sizeof(name##_shared_type), \
                                                                   #name};                     \
  name##_shared_type& name =                                                                   \
      *static_cast<name##_shared_type*>(::komt::emulator::static_shared(name##_shared_site))

// Declares `unsigned char* name`: the launch's dynamic shared memory, 1024-byte aligned.
#define KOMT_DYN_SHARED(name) \
  unsigned char* const name = static_cast<unsigned char*>(::komt::emulator::dynamic_shared())

#else

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define KOMT_SHARED(T, name, ...) __shared__ __align__(128) T name __VA_ARGS__
#define KOMT_DYN_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]

#endif
