// The first pass of a draw: penalty, forbidden ids and temperature in place, each slice's largest score,
// and cleared histograms and counters for the kernels behind.
//
// Moves 8 bytes per id: 1 MB for 128,256 ids, 0.24 us at an H200's 4.3 TB/s. The rest is a
// launch, a round trip to memory and a block's reduction. Logits that nothing changes aren't written.
#include "common/launch.cuh"
#include "ptx/grid_dependency.cuh"
#include "sampling/passes.cuh"

namespace komt::kernels {
namespace {

// With kGroups for the top-k list, which needs the groups' largest scores and no histogram.
template <bool kGroups>
__global__ void __launch_bounds__(kSampleThreads, 2)
    prepare_scores_kernel(SampleArgs args, RandomWorkspace workspace) {
  KOMT_SHARED(std::uint32_t, warp_keys, [kSampleWarps]);
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const Slice slice = this_slice(args, workspace);
  const SamplingSettings& settings = args.settings;
  const bool masks_eos =
      args.min_steps != nullptr && args.steps[slice.row] < args.min_steps[slice.row];
  std::uint32_t top = 0;
  for_each_id<false>(slice, [&](int id, float score, float) {
    if (id >= 0) {
      const float before = score;
      if (settings.repetition_penalty != 1.0f) {
        const bool seen = args.seen[static_cast<std::size_t>(slice.row) * args.vocab + id] != 0;
        score = penalised(score, seen, settings.repetition_penalty);
      }
      if (masks_eos && is_eos(id, args.eos_token_ids, args.num_eos)) score = -INFINITY;
      if (settings.temperature != 1.0f) score = __fdiv_rn(score, settings.temperature);
      if (__float_as_uint(score) != __float_as_uint(before)) slice.scores[id] = score;
      top = max(top, order_key(score));
    }
    if constexpr (kGroups) {
      // NaN is lost here, and stops the row by its key.
      const float largest = warp_max(score);
      const int group = id / kGroup;
      if (id >= 0 && threadIdx.x % 32 == 0) {
        workspace.groups[static_cast<std::size_t>(slice.row) * groups_of(args.vocab) + group] = largest;
      }
    }
  });
  top = block_max<kSampleThreads>(top, warp_keys);
  if (threadIdx.x == 0) workspace.tops[0][slice.partials + slice.index] = top;
  if constexpr (!kGroups) {
    constexpr int kAmounts = kCuts * SelectShared::kBuckets;
    Amount* const histograms = workspace.histograms + static_cast<std::size_t>(slice.row) * kAmounts;
    for (int i = slice.index * kSampleThreads + threadIdx.x; i < kAmounts;
         i += slice.count * kSampleThreads) {
      histograms[i] = 0;
    }
    if (slice.index == 0 && threadIdx.x < kCuts) slice.state->edges[threadIdx.x] = 0;
  }
}

}  // namespace

cudaError_t prepare_scores(const SampleArgs& args, const RandomWorkspace& workspace, bool groups,
                           cudaStream_t stream) {
  const LaunchConfig config = pass_config(args, stream);
  return groups ? launch(prepare_scores_kernel<true>, config, args, workspace)
                : launch(prepare_scores_kernel<false>, config, args, workspace);
}

}  // namespace komt::kernels
