// Kernels in plain C++: the reference of the others, and what runs on other processor families.
#define KOMT_ISA generic
#define KOMT_ISA_NAME "generic"
#include <math.h>
#include <string.h>

#include "backends/cpu/simd_generic.h"
// Keeps the order: the kernels are written over the vocabulary above.
#include "backends/cpu/kernels_table.h"

namespace komt::cpu {
const Kernels* generic_kernels() { return &generic::kKernels; }
}  // namespace komt::cpu
