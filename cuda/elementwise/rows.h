#pragma once

#include "common/element_type.h"
#include "common/platform.cuh"

namespace komt::kernels {

/// output[i] = float32 of table[rows[i]]. With a 16-bit table this is the embedding lookup, with a
/// float32 one it picks rows (the last token of each sequence, before the lm_head).
struct GatherRowsArgs {
  const void* table = nullptr;         ///< [table rows, cols], 16-byte aligned
  ElementType table_type = ElementType::f16;  ///< f32, f16 or bf16
  const std::int32_t* rows = nullptr;  ///< [count], each a row of the table
  float* output = nullptr;             ///< [count, cols], 16-byte aligned, apart from the table
  int count = 0;
  int cols = 0;
};

/// cudaErrorInvalidValue when cols < 1 or count < 0; zero rows are fine.
cudaError_t gather_rows(const GatherRowsArgs& args, cudaStream_t stream);

}  // namespace komt::kernels
