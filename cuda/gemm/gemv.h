// The one-row kernel as linear() calls it.
#pragma once

#include "gemm/epilogue.h"

namespace komt::kernels {

struct GemvParams {
  const void* x;       // [k], the weight's type, or float when norm_weight is set
  const void* weight;  // [n, k]
  int n;
  int k;
  const float* norm_weight;  // [k] or none
  float norm_eps;
  EpilogueParams epilogue;  // rows = 1
};

// The input has to fit into shared memory.
bool gemv_takes(int k);

cudaError_t launch_gemv_f16(const GemvParams& params, bool overlap, cudaStream_t stream);
cudaError_t launch_gemv_bf16(const GemvParams& params, bool overlap, cudaStream_t stream);

}  // namespace komt::kernels
