#pragma once

#include "common/element_type.h"
#include "common/platform.cuh"

namespace komt::kernels {

/// Rows of a checkpoint's tensor into a weight: for i in [0, count), j in [0, cols)
///   target[(first + i * step) * cols + j] = source[i * source_row_stride + j * source_column_stride]
/// step 1 appends (q | k | v), step 2 interleaves (gate and up). Rounds to nearest even; beyond the
/// target's range gives infinity; float64 is rounded to float32 first.
struct ConvertRowsArgs {
  const void* source = nullptr;  ///< device memory, aligned to its element
  ElementType source_type = ElementType::f32;
  std::int64_t source_row_stride = 0;     ///< in elements; cols when contiguous
  std::int64_t source_column_stride = 1;  ///< in elements; other than 1 for a transposed view
  void* target = nullptr;                 ///< [rows, cols], 16-byte aligned, apart from the source
  ElementType target_type = ElementType::f16;  ///< f32, f16 or bf16
  std::int64_t first = 0;
  std::int64_t step = 1;
  std::int64_t count = 0;
  std::int64_t cols = 0;
};

/// cudaErrorInvalidValue for a target of float64 or counts that make no sense; zero rows are fine.
cudaError_t convert_rows(const ConvertRowsArgs& args, cudaStream_t stream);

}  // namespace komt::kernels
