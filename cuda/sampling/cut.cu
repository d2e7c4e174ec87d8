// Where top_k, top_p or typical_p cut a row: a histogram of all ids over 4,096 steps of score (of distance
// for typical_p), then the ids of the one step in which the sum passes, looked at one by one.
//
// The sums are of integers, in global memory by atomics: exact, and the same in any order. Bytes: 8 per id
// and kernel, 1 MB for 128,256 ids or 0.24 us at an H200's 4.3 TB/s, mostly from L2, and an 8-byte atomic
// per id that has any weight. Steps are equal parts of the score, so ids of normal logits spread over
// hundreds of them: at most one in 300 shares a step, and L2 adds those at about one a clock. A warp whose
// ids are all of one step adds once. The other kernel's last block is alone with some hundred ids.
#include <cmath>

#include "common/last_block.cuh"
#include "common/launch.cuh"
#include "ptx/grid_dependency.cuh"
#include "sampling/passes.cuh"

namespace komt::kernels {
namespace {

template <CutKind kKind>
struct Rule {
  float top;
  float divisor;
  Surprise surprise;
  float limit;    // of the cumulative probability
  Amount others;  // ids that top_k leaves out, but for ties

  // Ascending in the order in which the sum runs.
  __device__ __forceinline__ int step(float score) const {
    if constexpr (kKind == CutKind::kDistance) return step_of(surprise.distance(score));
    return SelectShared::kBuckets - 1 - step_of(top - score);
  }
  __device__ __forceinline__ std::uint32_t key(float score) const {
    return order_key(kKind == CutKind::kDistance ? surprise.distance(score) : score);
  }
  __device__ __forceinline__ Amount amount(float weight) const {
    if constexpr (kKind == CutKind::kCount) return 1;
    return amount_of(__fdiv_rn(weight, divisor));
  }
  __device__ __forceinline__ bool passes(Amount cumulative) const {
    if constexpr (kKind == CutKind::kCount) return cumulative > others;
    if constexpr (kKind == CutKind::kMass) return probability_of(cumulative) > limit;
    return !(probability_of(cumulative) < limit);
  }
  // top_k counts what has no probability, too.
  __device__ __forceinline__ bool counts(int id, float score) const {
    return id >= 0 && (kKind == CutKind::kCount || score != -INFINITY);
  }
};

// In the second kernel of a cut; the first fills in what it finds.
template <CutKind kKind>
__device__ __forceinline__ Rule<kKind> rule_of(const SampleArgs& args, const RandomWorkspace& workspace,
                                               const Slice& slice, std::uint32_t* scratch) {
  const RowState& state = *slice.state;
  if constexpr (kKind == CutKind::kCount) {
    const float top = top_over_slices(workspace.tops[0], slice.partials, slice.count, scratch);
    return {top, 0, {}, 0, static_cast<Amount>(args.vocab - args.settings.top_k)};
  } else if constexpr (kKind == CutKind::kMass) {
    const float limit = static_cast<float>(1.0 - args.settings.top_p);
    return {state.top, static_cast<float>(state.total), {}, limit, 0};
  } else {
    return {state.top, static_cast<float>(state.total), {state.top, state.shift, state.entropy},
            args.settings.typical_p, 0};
  }
}

__device__ __forceinline__ Amount* histogram_of(const RandomWorkspace& workspace, const Slice& slice,
                                                CutKind kind) {
  const std::size_t cut = static_cast<std::size_t>(slice.row) * kCuts + static_cast<int>(kind);
  return workspace.histograms + cut * SelectShared::kBuckets;
}

// All lanes of a warp together. An amount of zero adds nothing.
__device__ __forceinline__ void add(Amount* histogram, int step, Amount amount) {
  const int last = __reduce_max_sync(kFullWarp, amount > 0 ? step : -1);
  if (last < 0) return;
  if (__all_sync(kFullWarp, amount == 0 || step == last)) {
    amount = warp_sum(amount);
    if (threadIdx.x % 32 == 0) atomicAdd(histogram + last, amount);
  } else if (amount > 0) {
    atomicAdd(histogram + step, amount);
  }
}

template <CutKind kKind>
__global__ void __launch_bounds__(kSampleThreads, 2)
    histogram_kernel(SampleArgs args, RandomWorkspace workspace, int from) {
  KOMT_SHARED(std::uint32_t, warp_keys, [kSampleWarps]);
  KOMT_SHARED(double, scratch, [2 * kSampleWarps]);
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const Slice slice = this_slice(args, workspace);
  Rule<kKind> rule{};
  if constexpr (kKind == CutKind::kCount) {
    rule = rule_of<kKind>(args, workspace, slice, warp_keys);
    if (rule.top != rule.top) return;
  } else {
    rule.top = slice.state->top;
    if (rule.top != rule.top) return;
    const double sum = sum_over_slices(slice, workspace.sums_at(from), scratch).weights;
    const bool writes = slice.index == 0 && threadIdx.x == 0;
    if constexpr (kKind == CutKind::kMass) {
      rule.divisor = static_cast<float>(sum);
      if (writes) slice.state->total = sum;
    } else {
      rule.divisor = static_cast<float>(slice.state->total);
      rule.surprise = {rule.top, slice.state->shift, static_cast<float>(-sum)};
      if (writes) slice.state->entropy = rule.surprise.entropy;
    }
  }
  Amount* const histogram = histogram_of(workspace, slice, kKind);
  for_each_id<kKind != CutKind::kCount>(slice, [&](int id, float score, float weight) {
    add(histogram, rule.step(score), rule.counts(id, score) ? rule.amount(weight) : 0);
  });
}

// Appends the ids of the slice that are of the step to the row's list, in any order.
template <CutKind kKind>
__device__ __forceinline__ void list_step(const Slice& slice, const Rule<kKind>& rule, int step,
                                          SelectShared& shared, int& list_begin) {
  for (int first = slice.begin; first < slice.end; first += kTile) {
    unsigned matches = 0;
    float scores[kPerThread];
    const int mine = first + static_cast<int>(threadIdx.x);
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int id = mine + i * kSampleThreads;
      scores[i] = id < slice.end ? slice.scores[id] : -INFINITY;
    }
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int id = mine + i * kSampleThreads;
      const bool counts = rule.counts(id < slice.end ? id : -1, scores[i]);
      if (counts && rule.step(scores[i]) == step) matches |= 1u << i;
    }
    const int count = __popc(matches);
    int total;
    const int rank = rank_in_block(shared, count, total);
    if (total == 0) continue;
    if (threadIdx.x == 0) {
      list_begin = static_cast<int>(
          atomicAdd(slice.state->edges + static_cast<int>(kKind), static_cast<unsigned>(total)));
    }
    __syncthreads();
    int at = list_begin + rank;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      if (matches & 1u << i) slice.ids[at++] = mine + i * kSampleThreads;
    }
  }
}

// The limit, from the list of the step's ids and the sum of all steps before it.
template <CutKind kKind>
__device__ __forceinline__ void find_in_step(const Slice& slice, const Rule<kKind>& rule, Amount before,
                                             CandidateShared& shared) {
  const int count = static_cast<int>(slice.state->edges[static_cast<int>(kKind)]);
  const auto score_of = [&](int i) { return slice.scores[slice.ids[i]]; };
  const Cut cut = find_cut(
      shared.select, count, [&](int i) { return rule.key(score_of(i)); },
      [&](int i) {
        return rule.amount(kKind == CutKind::kCount ? 0.0f : slice.weights[slice.ids[i]]);
      },
      [&](Amount cumulative) { return rule.passes(cumulative); }, before);
  if constexpr (kKind == CutKind::kDistance) {
    if (threadIdx.x == 0) slice.state->farthest = cut.key;
  } else if constexpr (kKind == CutKind::kCount) {
    if (threadIdx.x == 0) slice.state->threshold = static_cast<unsigned long long>(cut.key) << 32;
  } else {
    // When everything would have to go, the best score's last id stays.
    const std::uint32_t least = cut.passed ? cut.key : order_key(rule.top);
    int mine = 0;
    for (int i = threadIdx.x; i < count; i += kSampleThreads) mine += order_key(score_of(i)) == least;
    __syncthreads();
    const int ties = block_sum<kSampleThreads>(mine, shared.select.warp_counts[0]);
    // Among equal scores the lower ids go first.
    int dropped = ties - 1;
    if (cut.passed) dropped = dropped_ties(cut.before, cut.at / ties, ties, rule.limit);
    std::uint32_t first_id = 0;
    if (dropped > 0) {
      first_id = find_cut(
                     shared.select, count,
                     [&](int i) { return static_cast<std::uint32_t>(slice.ids[i]); },
                     [&](int i) { return order_key(score_of(i)) == least ? 1u : 0u; },
                     [&](Amount cumulative) { return cumulative > static_cast<Amount>(dropped); })
                     .key;
    }
    if (threadIdx.x == 0) {
      slice.state->threshold = static_cast<unsigned long long>(least) << 32 | first_id;
    }
  }
}

template <CutKind kKind>
__global__ void __launch_bounds__(kSampleThreads, 2)
    edge_kernel(SampleArgs args, RandomWorkspace workspace) {
  KOMT_SHARED(CandidateShared, shared, );
  KOMT_SHARED(std::uint32_t, warp_keys, [kSampleWarps]);
  KOMT_SHARED(int, list_begin, );
  KOMT_SHARED(bool, is_last, );
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const Slice slice = this_slice(args, workspace);
  const Rule<kKind> rule = rule_of<kKind>(args, workspace, slice, warp_keys);
  if (rule.top != rule.top) return;
  const Amount* const share =
      histogram_of(workspace, slice, kKind) + threadIdx.x * SelectShared::kPerThread;
  find_bucket(shared.select, [&](int i) { return share[i]; }, 0,
              [&](Amount cumulative) { return rule.passes(cumulative); });
  int step = shared.select.bucket;
  if (step < 0) {
    // Not even all of it passes. Then everything is typical; and of top_p's order the last one stays.
    if constexpr (kKind == CutKind::kDistance) {
      if (slice.index == 0 && threadIdx.x == 0) slice.state->farthest = 0xffffffffu;
      return;
    }
    step = SelectShared::kBuckets - 1;
  }
  list_step(slice, rule, step, shared.select, list_begin);

  __syncthreads();  // the block's part of the list is written
  if (!is_last_block(args.tickets + slice.row, slice.count, is_last)) return;
  // The sum of the steps before is still where the search has left it.
  const Amount before = shared.select.bucket < 0 ? 0 : shared.select.before;
  find_in_step(slice, rule, before, shared);
}

template <CutKind kKind>
cudaError_t launch_cut(const SampleArgs& args, const RandomWorkspace& workspace, int from,
                       cudaStream_t stream) {
  const LaunchConfig config = pass_config(args, stream);
  const cudaError_t error = launch(histogram_kernel<kKind>, config, args, workspace, from);
  return error != cudaSuccess ? error : launch(edge_kernel<kKind>, config, args, workspace);
}

}  // namespace

cudaError_t find_limit(const SampleArgs& args, const RandomWorkspace& workspace, CutKind kind, int from,
                       cudaStream_t stream) {
  switch (kind) {
    case CutKind::kCount: return launch_cut<CutKind::kCount>(args, workspace, from, stream);
    case CutKind::kMass: return launch_cut<CutKind::kMass>(args, workspace, from, stream);
    default: return launch_cut<CutKind::kDistance>(args, workspace, from, stream);
  }
}

}  // namespace komt::kernels
