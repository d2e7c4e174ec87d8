#pragma once
// Last of the headers a kernels_*.cpp includes: the table of its kernels.
#include "backends/cpu/kernels_elementwise.h"
#include "backends/cpu/kernels_matmul.h"
// After these two, whose functions it uses.
#include "backends/cpu/kernels_attention.h"

namespace komt::cpu::KOMT_ISA {

static constexpr Kernels kKernels = {
    KOMT_ISA_NAME, kStreamTokens, matmul<float>, matmul<Half>,      matmul<Bfloat16>,
    attention,     rms_norm,      silu_gate,     rotate,            half_to_float,
    bfloat16_to_float, float_to_half, float_to_bfloat16, exp_array,
};

}  // namespace komt::cpu::KOMT_ISA
