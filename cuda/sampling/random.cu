// The draw of a token: one block per row thins out the candidates, without a sort, and draws.
//
// Bytes: the row is read once to prepare it, three times for top-k and once to list what is left; then
// lists of what top-k left. For 32,000 ids that is 0.8 MB of L2 traffic at the rate of one SM (some
// 100 GB/s): an estimated 8 us, and about as much for a hundred or so barriers of a block, against 3.1
// ms (7B) and 6.0 ms (13B) for the step's weights at 4.3 TB/s: below 1% of it. Without top-k every
// filter passes over all ids; 262,144 of them then take an estimated 200 us, which more blocks per row
// would divide.
#include <cmath>

#include "common/launch.cuh"
#include "ptx/grid_dependency.cuh"
#include "sampling/candidates.cuh"
#include "sampling/kernels.h"
#include "sampling/philox.cuh"

namespace komt::kernels {
namespace {

struct RandomWorkspace {
  std::int32_t* ids;  // [rows, vocab]
  float* weights;     // [rows, vocab]
};

// Steps 1, 2 and 4, in place. Returns the key of the largest score.
__device__ __forceinline__ std::uint32_t prepare_scores(const SampleArgs& args, int row,
                                                        float* scores,
                                                        std::uint32_t* warp_keys) {
  const SamplingSettings& settings = args.settings;
  const bool masks_eos = args.min_steps != nullptr && args.steps[row] < args.min_steps[row];
  std::uint32_t top = 0;
  for (int i = threadIdx.x; i < args.vocab; i += kSampleThreads) {
    float score = scores[i];
    if (settings.repetition_penalty != 1.0f) {
      const bool seen = args.seen[static_cast<std::size_t>(row) * args.vocab + i] != 0;
      score = penalised(score, seen, settings.repetition_penalty);
    }
    if (masks_eos && is_eos(i, args.eos_token_ids, args.num_eos)) score = -INFINITY;
    if (settings.temperature != 1.0f) score = __fdiv_rn(score, settings.temperature);
    scores[i] = score;
    top = max(top, order_key(score));
  }
  return block_max<kSampleThreads>(top, warp_keys);
}

// Steps 5 and the first list: everything that has any probability.
__device__ __forceinline__ void list_candidates(CandidateShared& shared, Candidates& c, int vocab,
                                                int top_k) {
  std::uint32_t least = 0;
  if (top_k > 0 && top_k < vocab) {
    const Amount others = static_cast<Amount>(vocab - top_k);
    least = find_cut(
                shared.select, vocab, [&](int i) { return order_key(c.scores[i]); },
                [](int) { return 1u; },
                [&](Amount cumulative) { return cumulative > others; })
                .key;
  }
  float score = 0;
  c.count = for_each_match(
      shared.select, vocab,
      [&](int i) {
        score = c.scores[i];
        return order_key(score) >= least && score != -INFINITY;
      },
      [&](int rank, int i) {
        c.ids[rank] = i;
        c.scores[rank] = score;
      });
}

// float32(score - top) - float32(log(sum of exponentials)).
__device__ __forceinline__ float log_probability(CandidateShared& shared, const Candidates& c,
                                                 float score) {
  const double sum = sum_of(shared, c.count, [&](int i) {
    return exp(static_cast<double>(c.scores[i] - c.top));
  });
  return (score - c.top) - static_cast<float>(log(sum));
}

__global__ void __launch_bounds__(kSampleThreads, 1)
    sample_random_kernel(SampleArgs args, RandomWorkspace workspace) {
  KOMT_SHARED(CandidateShared, shared, );
  KOMT_SHARED(std::uint32_t, warp_keys, [kSampleWarps]);
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const int row = blockIdx.x;
  const SamplingSettings& settings = args.settings;
  const std::size_t at = static_cast<std::size_t>(row) * args.vocab;
  Candidates c{workspace.ids + at, args.logits + at, workspace.weights + at, 0, 0, 0};

  const std::uint32_t top = prepare_scores(args, row, c.scores, warp_keys);
  // Beyond the finite numbers on either side: invalid logits, or every id forbidden.
  if (top >= order_key(INFINITY) || top <= order_key(-INFINITY)) {
    if (threadIdx.x == 0) {
      args.tokens[row] = -1;
      if (args.logprobs != nullptr) args.logprobs[row] = NAN;
    }
    return;
  }
  __syncthreads();  // the scores are written
  list_candidates(shared, c, args.vocab, settings.top_k);
  weigh(shared, c);
  if (settings.top_p < 1.0) filter_top_p(shared, c, settings.top_p);
  if (settings.min_p > 0.0f) filter_min_p(shared, c, settings.min_p);
  if (settings.typical_p < 1.0f) filter_typical(shared, c, settings.typical_p);

  const double u = philox_uniform(args.seed, args.stream_hashes[row], args.stream_lanes[row],
                                  args.steps[row]);
  __syncthreads();  // the weights are written
  const int index = draw(shared, c, u);
  const int token = c.ids[index];
  if (args.logprobs != nullptr) {
    const float logprob = log_probability(shared, c, c.scores[index]);
    if (threadIdx.x == 0) args.logprobs[row] = logprob;
  }
  if (threadIdx.x == 0) {
    args.tokens[row] = token;
    if (args.seen != nullptr) args.seen[at + token] = 1;
  }
}

}  // namespace

std::size_t random_workspace_bytes(int rows, int vocab) {
  return static_cast<std::size_t>(rows) * vocab * (sizeof(std::int32_t) + sizeof(float));
}

cudaError_t sample_random(const SampleArgs& args, cudaStream_t stream) {
  auto* ids = static_cast<std::int32_t*>(args.workspace);
  const std::size_t elements = static_cast<std::size_t>(args.rows) * args.vocab;
  const RandomWorkspace workspace{ids, reinterpret_cast<float*>(ids + elements)};
  return launch(sample_random_kernel,
                LaunchConfig{.grid = dim3(args.rows),
                             .block = dim3(kSampleThreads),
                             .stream = stream,
                             .programmatic_dependent_launch = true},
                args, workspace);
}

}  // namespace komt::kernels
