// The kernels of a draw, in the order in which random.cu puts them. `from` and `to` say which of the two
// arrays of partial results a kernel reads and writes: blocks of one kernel run at different times.
#pragma once

#include "common/launch.cuh"
#include "sampling/filters.cuh"

namespace komt::kernels {

enum class CutKind { kCount, kMass, kDistance };

inline LaunchConfig pass_config(const SampleArgs& args, cudaStream_t stream) {
  return {.grid = dim3(slices_of(args.vocab), args.rows),
          .block = dim3(kSampleThreads),
          .stream = stream,
          .programmatic_dependent_launch = true};
}

// Scores as the processors leave them and tops[0]; the groups' largest scores, or cleared histograms.
cudaError_t prepare_scores(const SampleArgs& args, const RandomWorkspace& workspace, bool groups,
                           cudaStream_t stream);
// The whole rest of a draw, from the groups' largest scores, where top_k is small.
cudaError_t draw_from_list(const SampleArgs& args, const RandomWorkspace& workspace,
                           cudaStream_t stream);

cudaError_t weigh(const SampleArgs& args, const RandomWorkspace& workspace, Pending pending, int from,
                  int to, cudaStream_t stream);
cudaError_t sum_left(const SampleArgs& args, const RandomWorkspace& workspace, Pending pending, int from,
                     int to, cudaStream_t stream);
cudaError_t sum_entropy(const SampleArgs& args, const RandomWorkspace& workspace, int from, int to,
                        cudaStream_t stream);
cudaError_t find_top(const SampleArgs& args, const RandomWorkspace& workspace, cudaStream_t stream);
// Finds the limit of top_k, top_p or typical_p from the sums; it is pending afterwards.
cudaError_t find_limit(const SampleArgs& args, const RandomWorkspace& workspace, CutKind kind, int from,
                       cudaStream_t stream);
cudaError_t draw_token(const SampleArgs& args, const RandomWorkspace& workspace, Pending pending,
                       int from, cudaStream_t stream);

}  // namespace komt::kernels
