// The two ways behind sample().
#pragma once

#include "sampling/sampling.h"

namespace komt::kernels {

std::size_t greedy_workspace_bytes(int rows, int vocab);
cudaError_t sample_greedy(const SampleArgs& args, cudaStream_t stream);

std::size_t random_workspace_bytes(int rows, int vocab);
cudaError_t sample_random(const SampleArgs& args, cudaStream_t stream);

}  // namespace komt::kernels
