// The first id with the largest score: slices of a row in parallel, joined by the last block done.
//
// Moves a row's 4 bytes per id once (0.13 MB for 32,000 ids, 1 MB for 262,144): 0.03 and 0.24 us at an
// H200's 4.3 TB/s, so its time is that of a launch, two dependent loads and the ticket, 3 to 4 us. A
// thread has its 16 scores in registers, loaded before the first is looked at; a block 16 KB.
#include <cmath>

#include "common/last_block.cuh"
#include "common/launch.cuh"
#include "common/reduce.cuh"
#include "ptx/grid_dependency.cuh"
#include "sampling/kernels.h"
#include "sampling/scores.cuh"

namespace komt::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kPerThread = 16;
constexpr int kSlice = kThreads * kPerThread;

struct Partial {
  unsigned long long best;  // best_key()
  double sum;               // of exp(score - maximum)
  float maximum;
};

int slices_of(int vocab) { return (vocab + kSlice - 1) / kSlice; }

// As the host computes it: NaN when there is one, and never infinity minus infinity for a score that
// has no probability.
__device__ __forceinline__ double exponential(float score, float maximum) {
  return score == -INFINITY ? 0.0 : exp(static_cast<double>(score - maximum));
}

template <bool kWithLogprob>
__global__ void __launch_bounds__(kThreads, 1)
    sample_greedy_kernel(SampleArgs args, Partial* partials) {
  KOMT_SHARED(unsigned long long, keys, [kThreads / 32]);
  KOMT_SHARED(double, sums, [kThreads / 32]);
  KOMT_SHARED(float, winner_score, );
  KOMT_SHARED(bool, is_last, );
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const int row = blockIdx.y;
  const int slices = gridDim.x;
  const std::size_t at = static_cast<std::size_t>(row) * args.vocab;
  const bool masks_eos = args.min_steps != nullptr && args.steps[row] < args.min_steps[row];
  const float penalty = args.settings.repetition_penalty;

  float scores[kPerThread];
  unsigned long long best = 0;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int id = blockIdx.x * kSlice + i * kThreads + threadIdx.x;
    scores[i] = id < args.vocab ? args.logits[at + id] : -INFINITY;
  }
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int id = blockIdx.x * kSlice + i * kThreads + threadIdx.x;
    if (id >= args.vocab) continue;
    if (penalty != 1.0f) scores[i] = penalised(scores[i], args.seen[at + id] != 0, penalty);
    if (masks_eos && is_eos(id, args.eos_token_ids, args.num_eos)) scores[i] = -INFINITY;
    best = max(best, best_key(scores[i], id));
  }
  best = block_max<kThreads>(best, keys);
  // The winner's own thread knows its score; a key alone doesn't tell NaNs and zeros apart.
  const int winner = best_id(best) - static_cast<int>(blockIdx.x) * kSlice;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    if (i * kThreads + static_cast<int>(threadIdx.x) == winner) winner_score = scores[i];
  }
  __syncthreads();
  Partial partial{best, 0, winner_score};
  if constexpr (kWithLogprob) {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) partial.sum += exponential(scores[i], partial.maximum);
    partial.sum = block_sum<kThreads>(partial.sum, sums);
  }

  Partial* row_partials = partials + static_cast<std::size_t>(row) * slices;
  if (threadIdx.x == 0) row_partials[blockIdx.x] = partial;
  if (!is_last_block(args.tickets + row, slices, is_last) || threadIdx.x >= 32) return;

  const int lane = threadIdx.x;
  best = 0;
  for (int i = lane; i < slices; i += 32) best = max(best, row_partials[i].best);
  best = warp_max(best);
  const int token = best_id(best);
  if constexpr (kWithLogprob) {
    const float top = row_partials[token / kSlice].maximum;
    double sum = 0;
    for (int i = lane; i < slices; i += 32) {
      sum += row_partials[i].sum * exponential(row_partials[i].maximum, top);
    }
    sum = warp_sum(sum);
    if (lane == 0) args.logprobs[row] = (top - top) - static_cast<float>(log(sum));
  }
  if (lane == 0) {
    args.tokens[row] = token;
    if (args.seen != nullptr) args.seen[at + token] = 1;
  }
}

}  // namespace

std::size_t greedy_workspace_bytes(int rows, int vocab) {
  return static_cast<std::size_t>(rows) * slices_of(vocab) * sizeof(Partial);
}

cudaError_t sample_greedy(const SampleArgs& args, cudaStream_t stream) {
  const LaunchConfig config{.grid = dim3(slices_of(args.vocab), args.rows),
                            .block = dim3(kThreads),
                            .stream = stream,
                            .programmatic_dependent_launch = true};
  auto* partials = static_cast<Partial*>(args.workspace);
  return args.logprobs != nullptr ? launch(sample_greedy_kernel<true>, config, args, partials)
                                  : launch(sample_greedy_kernel<false>, config, args, partials);
}

}  // namespace komt::kernels
