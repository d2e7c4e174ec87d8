// Log-softmax over the vocabulary, whole or of one id per row, for scoring; one block per row.
//
// The whole one moves 8 bytes per id and reads the row once more from L1 or L2: 2,048 rows of 32,000
// ids are 524 MB, 122 us on an H200. The other reads 4: 61 us. One pass keeps maximum and sum online;
// a thread has eight 4-byte loads in flight, a block 8 KB, an SM with eight blocks 64 KB.
#include <cmath>

#include "common/launch.cuh"
#include "common/reduce.cuh"
#include "ptx/grid_dependency.cuh"
#include "sampling/sampling.h"
#include "sampling/scores.cuh"

namespace komt::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kUnroll = 8;

// Sum of exp(score - maximum); joins are ordered by the shape of the block alone.
struct OnlineSum {
  float maximum;
  float sum;
};

__device__ __forceinline__ OnlineSum join(OnlineSum a, OnlineSum b) {
  const float maximum = fmaxf(a.maximum, b.maximum);
  if (maximum == -INFINITY) return {maximum, 0.0f};
  return {maximum, a.sum * expf(a.maximum - maximum) + b.sum * expf(b.maximum - maximum)};
}

struct RowStatistics {
  float log_sum;  // maximum + log(sum)
  unsigned long long best;
};

// NaN in the row makes log_sum NaN.
__device__ __forceinline__ RowStatistics row_statistics(const float* logits, int vocab,
                                                        OnlineSum* warp_sums,
                                                        unsigned long long* warp_keys) {
  OnlineSum mine{-INFINITY, 0.0f};
  unsigned long long best = 0;
  for (int first = threadIdx.x; first < vocab; first += kThreads * kUnroll) {
    float scores[kUnroll];
    float maximum = mine.maximum;
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) {
      const int id = first + i * kThreads;
      scores[i] = id < vocab ? logits[id] : -INFINITY;
      if (id < vocab) best = max(best, best_key(scores[i], id));
      maximum = fmaxf(maximum, scores[i]);
    }
    // With nothing but -infinity so far, differences would be infinity minus infinity.
    const float reference = maximum == -INFINITY ? 0.0f : maximum;
    float sum = mine.sum * expf(mine.maximum - reference);
#pragma unroll
    for (int i = 0; i < kUnroll; ++i) sum += expf(scores[i] - reference);
    mine = {maximum, sum};
  }
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const OnlineSum other{__shfl_xor_sync(kFullWarp, mine.maximum, offset),
                          __shfl_xor_sync(kFullWarp, mine.sum, offset)};
    mine = join(mine, other);
  }
  if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = mine;
  best = block_max<kThreads>(best, warp_keys);  // its barrier serves both
  mine = warp_sums[0];
#pragma unroll
  for (int warp = 1; warp < kThreads / 32; ++warp) mine = join(mine, warp_sums[warp]);
  return {mine.maximum + logf(mine.sum), best};
}

__global__ void __launch_bounds__(kThreads)
    log_softmax_kernel(const float* logits, float* output, int vocab) {
  KOMT_SHARED(OnlineSum, warp_sums, [kThreads / 32]);
  KOMT_SHARED(unsigned long long, warp_keys, [kThreads / 32]);
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const std::size_t at = static_cast<std::size_t>(blockIdx.x) * vocab;
  const float log_sum = row_statistics(logits + at, vocab, warp_sums, warp_keys).log_sum;
  for (int i = threadIdx.x; i < vocab; i += kThreads) output[at + i] = logits[at + i] - log_sum;
}

__global__ void __launch_bounds__(kThreads) score_tokens_kernel(ScoreTokensArgs args) {
  KOMT_SHARED(OnlineSum, warp_sums, [kThreads / 32]);
  KOMT_SHARED(unsigned long long, warp_keys, [kThreads / 32]);
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const int row = blockIdx.x;
  const float* logits = args.logits + static_cast<std::size_t>(row) * args.vocab;
  const RowStatistics statistics = row_statistics(logits, args.vocab, warp_sums, warp_keys);
  if (threadIdx.x == 0) {
    args.logprobs[row] = logits[args.targets[row]] - statistics.log_sum;
    if (args.best != nullptr) args.best[row] = best_id(statistics.best);
  }
}

}  // namespace

cudaError_t log_softmax(const float* logits, float* output, int rows, int vocab,
                        cudaStream_t stream) {
  if (rows < 0 || vocab < 1) return cudaErrorInvalidValue;
  if (rows == 0) return cudaSuccess;
  return launch(log_softmax_kernel,
                LaunchConfig{.grid = dim3(rows),
                             .block = dim3(kThreads),
                             .stream = stream,
                             .programmatic_dependent_launch = true},
                logits, output, vocab);
}

cudaError_t score_tokens(const ScoreTokensArgs& args, cudaStream_t stream) {
  if (args.rows < 0 || args.vocab < 1) return cudaErrorInvalidValue;
  if (args.rows == 0) return cudaSuccess;
  return launch(score_tokens_kernel,
                LaunchConfig{.grid = dim3(args.rows),
                             .block = dim3(kThreads),
                             .stream = stream,
                             .programmatic_dependent_launch = true},
                args);
}

}  // namespace komt::kernels
