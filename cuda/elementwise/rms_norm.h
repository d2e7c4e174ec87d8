#pragma once

#include "common/element_type.h"
#include "common/platform.cuh"

namespace komt::kernels {

/// output[r, i] = input[r, i] / sqrt(mean(input[r]^2) + eps) * weight[i], computed in float32 as in
/// Hugging Face's LlamaRMSNorm over a float32 residual stream. Rows without gaps, pointers 16-byte
/// aligned.
struct RmsNormArgs {
  const float* input = nullptr;   ///< [rows, hidden]
  const float* weight = nullptr;  ///< [hidden]
  void* output = nullptr;         ///< [rows, hidden]; may be `input` when it is float32
  ElementType output_type = ElementType::f16;  ///< f32, f16 or bf16
  int rows = 0;
  int hidden = 0;
  float eps = 0;
};

/// cudaErrorInvalidValue when hidden < 1 or rows < 0; zero rows are fine.
cudaError_t rms_norm(const RmsNormArgs& args, cudaStream_t stream);

}  // namespace komt::kernels
