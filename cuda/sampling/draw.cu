// The draw itself: the sums of what is left in each slice; then the last block of a row finds the slice
// and the id at which the running sum passes the random number.
//
// Moves 8 bytes per id, 1 MB for 128,256 ids, 0.24 us at an H200's 4.3 TB/s, mostly from L2. The
// rest is a launch, a ticket, and five searches over at most 16 sums each.
#include <cmath>

#include "common/last_block.cuh"
#include "common/launch.cuh"
#include "ptx/grid_dependency.cuh"
#include "sampling/passes.cuh"
#include "sampling/philox.cuh"

namespace komt::kernels {
namespace {

template <bool kWithLogprob>
__global__ void __launch_bounds__(kSampleThreads, 2)
    draw_kernel(SampleArgs args, RandomWorkspace workspace, Pending pending, int from) {
  KOMT_SHARED(double, scratch, [2 * kSampleWarps]);
  KOMT_SHARED(bool, is_last, );
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const Slice slice = this_slice(args, workspace);
  const float top = slice.state->top;
  if (top != top) {
    if (slice.index == 0 && threadIdx.x == 0) {
      args.tokens[slice.row] = -1;
      if constexpr (kWithLogprob) args.logprobs[slice.row] = NAN;
    }
    return;
  }
  const Filter filter =
      filter_of(slice, pending, args.settings.min_p, workspace.sums_at(from), scratch);
  SliceSums mine{0, 0};
  for_each_kept(slice, filter, [&](int, float score, float weight) {
    mine.weights += static_cast<double>(weight);
    if constexpr (kWithLogprob) mine.exponentials += exponential_of(score - top);
  });
  SliceSums* const sums = workspace.sums_at(1 - from);
  __syncthreads();  // the filter's reduction is read, and what goes is written
  write_sums(slice, sums, mine, scratch);
  if (!is_last_block(args.tickets + slice.row, slice.count, is_last)) return;

  const SliceSums all = sum_over_slices(slice, sums, scratch);
  const double target = all.weights * philox_uniform(args.seed, args.stream_hashes[slice.row],
                                                     args.stream_lanes[slice.row],
                                                     args.steps[slice.row]);
  __syncthreads();  // the reduction is read
  double before = 0;
  const int chosen = find_drawn(scratch, 0, slice.count, before, target,
                                [&](int i) { return sums[slice.partials + i].weights; });
  const int begin = chosen * slice_length(args.vocab);
  const int end = min(begin + slice_length(args.vocab), args.vocab);
  const int token = find_drawn(scratch, begin, end, before, target,
                               [&](int id) { return static_cast<double>(slice.weights[id]); });
  if (threadIdx.x == 0) {
    args.tokens[slice.row] = token;
    if constexpr (kWithLogprob) {
      // The top is never -0, which a score may be: without the zero, so would be the logarithm of 1.
      const float difference = slice.scores[token] - top + 0.0f;
      args.logprobs[slice.row] = difference - static_cast<float>(log(all.exponentials));
    }
    if (args.seen != nullptr) {
      args.seen[static_cast<std::size_t>(slice.row) * args.vocab + token] = 1;
    }
  }
}

}  // namespace

cudaError_t draw_token(const SampleArgs& args, const RandomWorkspace& workspace, Pending pending,
                       int from, cudaStream_t stream) {
  const LaunchConfig config = pass_config(args, stream);
  return args.logprobs != nullptr
             ? launch(draw_kernel<true>, config, args, workspace, pending, from)
             : launch(draw_kernel<false>, config, args, workspace, pending, from);
}

}  // namespace komt::kernels
