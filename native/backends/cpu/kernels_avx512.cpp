// Kernels for AVX-512.
#include "backends/cpu/kernels.h"

#if defined(__x86_64__) || defined(_M_X64)
#define KOMT_ISA avx512
#define KOMT_ISA_NAME "avx512"
#include <immintrin.h>
#include <math.h>
#include <string.h>

// In the source rather than on the command line, so that every build system builds the same. It
// stays on to the end of the file: templates are instantiated there.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c"))), apply_to = function)
#elif defined(__GNUC__)
// GCC bug 105593: its own intrinsics headers trip these warnings.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")
#endif

#include "backends/cpu/simd_avx512.h"
// Keeps the order: the kernels are written over the vocabulary above.
#include "backends/cpu/kernels_table.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif

namespace komt::cpu {
const Kernels* avx512_kernels() { return &avx512::kKernels; }
}  // namespace komt::cpu
#else
namespace komt::cpu {
const Kernels* avx512_kernels() { return nullptr; }
}  // namespace komt::cpu
#endif
