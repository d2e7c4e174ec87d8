// The passes of a draw between cuts: weights, and sums over what is left.
//
// Each moves 8 to 12 bytes per id (1.5 MB for 128,256 ids, 0.36 us at an H200's 4.3 TB/s, mostly from L2)
// and computes at most one exponential in double: 4,096 per block, a microsecond of an SM's units.
// The rest is a launch, two dependent round trips (the slices' partial results, then the ids) and two
// reductions of a block.
#include <cmath>

#include "common/launch.cuh"
#include "ptx/grid_dependency.cuh"
#include "sampling/filters.cuh"
#include "sampling/passes.cuh"

namespace komt::kernels {
namespace {

// Weights relative to the row's largest score, which is in tops[from].
__global__ void __launch_bounds__(kSampleThreads, 2)
    weigh_kernel(SampleArgs args, RandomWorkspace workspace, Pending pending, int from, int to) {
  KOMT_SHARED(std::uint32_t, warp_keys, [kSampleWarps]);
  KOMT_SHARED(double, scratch, [2 * kSampleWarps]);
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const Slice slice = this_slice(args, workspace);
  const float top = top_over_slices(workspace.tops_at(from), slice.partials, slice.count, warp_keys);
  if (slice.index == 0 && threadIdx.x == 0) slice.state->top = top;
  if (top != top) return;
  const unsigned long long threshold = pending == Pending::kThreshold ? slice.state->threshold : 0;
  SliceSums sums{0, 0};
  for_each_id<false>(slice, [&](int id, float score, float) {
    if (id < 0) return;
    double exponential = 0;
    if (score != -INFINITY) {
      if (place_in_order(score, id) >= threshold) {
        exponential = exponential_of(score - top);
      } else {
        slice.scores[id] = -INFINITY;
      }
    }
    const float weight = static_cast<float>(exponential);
    slice.weights[id] = weight;
    sums.weights += static_cast<double>(weight);
    sums.exponentials += exponential;
  });
  write_sums(slice, workspace.sums_at(to), sums, scratch);
}

__global__ void __launch_bounds__(kSampleThreads, 2)
    sum_kernel(SampleArgs args, RandomWorkspace workspace, Pending pending, int from, int to) {
  KOMT_SHARED(double, scratch, [2 * kSampleWarps]);
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const Slice slice = this_slice(args, workspace);
  const float top = slice.state->top;
  if (top != top) return;
  const Filter filter =
      filter_of(slice, pending, args.settings.min_p, workspace.sums_at(from), scratch);
  SliceSums sums{0, 0};
  for_each_kept(slice, filter, [&](int, float score, float weight) {
    sums.weights += static_cast<double>(weight);
    sums.exponentials += exponential_of(score - top);
  });
  __syncthreads();  // the filter's reduction is read
  write_sums(slice, workspace.sums_at(to), sums, scratch);
}

// From the sums of weights and exponentials to that of -p * log p, which takes the place of both.
__global__ void __launch_bounds__(kSampleThreads, 2)
    entropy_kernel(SampleArgs args, RandomWorkspace workspace, int from, int to) {
  KOMT_SHARED(double, scratch, [2 * kSampleWarps]);
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const Slice slice = this_slice(args, workspace);
  const float top = slice.state->top;
  if (top != top) return;
  const SliceSums before = sum_over_slices(slice, workspace.sums_at(from), scratch);
  const Surprise surprise{top, static_cast<float>(log(before.exponentials)), 0};
  if (slice.index == 0 && threadIdx.x == 0) {
    slice.state->total = before.weights;
    slice.state->shift = surprise.shift;
  }
  SliceSums sums{0, 0};
  for_each_id<false>(slice, [&](int, float score, float) {
    if (score == -INFINITY) return;
    const float l = surprise.log_p(score);
    const float p = static_cast<float>(exp(static_cast<double>(l)));
    sums.weights += static_cast<double>(__fmul_rn(l, p));
  });
  __syncthreads();  // the first reduction is read
  write_sums(slice, workspace.sums_at(to), sums, scratch);
}

// What typical_p leaves may have another largest score: into tops[1].
__global__ void __launch_bounds__(kSampleThreads, 2)
    top_kernel(SampleArgs args, RandomWorkspace workspace) {
  KOMT_SHARED(std::uint32_t, warp_keys, [kSampleWarps]);
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const Slice slice = this_slice(args, workspace);
  const float before = slice.state->top;
  std::uint32_t top = before != before ? order_key(NAN) : 0;
  if (before == before) {
    const Filter filter = filter_of(slice, Pending::kDistance, 0, nullptr, nullptr);
    for_each_kept(slice, filter, [&](int, float score, float) { top = max(top, order_key(score)); });
  }
  top = block_max<kSampleThreads>(top, warp_keys);
  if (threadIdx.x == 0) workspace.tops[1][slice.partials + slice.index] = top;
}

}  // namespace

cudaError_t weigh(const SampleArgs& args, const RandomWorkspace& workspace, Pending pending, int from,
                  int to, cudaStream_t stream) {
  return launch(weigh_kernel, pass_config(args, stream), args, workspace, pending, from, to);
}

cudaError_t sum_left(const SampleArgs& args, const RandomWorkspace& workspace, Pending pending, int from,
                     int to, cudaStream_t stream) {
  return launch(sum_kernel, pass_config(args, stream), args, workspace, pending, from, to);
}

cudaError_t sum_entropy(const SampleArgs& args, const RandomWorkspace& workspace, int from, int to,
                        cudaStream_t stream) {
  return launch(entropy_kernel, pass_config(args, stream), args, workspace, from, to);
}

cudaError_t find_top(const SampleArgs& args, const RandomWorkspace& workspace, cudaStream_t stream) {
  return launch(top_kernel, pass_config(args, stream), args, workspace);
}

}  // namespace komt::kernels
