#pragma once
// What the machine has.
#include "engine/backend.h"

namespace komt::cpu {

/// Instruction sets the processor has and the operating system saves.
bool has_avx2();    ///< AVX2, FMA and F16C
bool has_avx512();  ///< F, BW, DQ and VL besides

/// Physical cores that this process may run on, bounded by its container's processor quota.
int usable_cores();

/// Memory of the machine, bounded by the container's limit. `free` counts what can be reclaimed.
MemoryInfo host_memory();

}  // namespace komt::cpu
