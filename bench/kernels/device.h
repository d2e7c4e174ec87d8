// The kernels that the harness itself needs.
#pragma once

#include <cstddef>

#include "common/element_type.h"
#include "common/platform.cuh"

namespace komt::bench {

// Reads `bytes` (a multiple of 16) once; `sink` (4 bytes) is written only if all of it is zero.
cudaError_t read_stream(const void* data, std::size_t bytes, int blocks, unsigned* sink,
                        cudaStream_t stream);

// Every warp of `blocks` blocks of 256 threads issues `rounds` times 8 independent mma.sync
// (4,096 FLOP each).
cudaError_t mma_from_registers(int rounds, int blocks, float* sink, cudaStream_t stream);

// Normally distributed f32, f16 or bf16, from a counter-based generator.
cudaError_t fill_normal(void* data, std::size_t count, float deviation, kernels::ElementType type,
                        cudaStream_t stream);

}  // namespace komt::bench
