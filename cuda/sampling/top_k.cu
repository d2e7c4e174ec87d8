// The whole draw where top_k is small: one block per row, from each group of 32 ids' largest score.
//
// The k-th largest of the groups' scores isn't above the k-th largest score, so what is as large as that
// contains the top k; and only some k groups have any of it. The block reads 4 bytes per group and those
// groups: 16 KB and some 14 KB for 128,256 ids and k = 100, 0.3 us at the rate of one SM (some 100 GB/s). The
// few candidates stay in shared memory, in ascending order of id, and their order by score is counted out,
// every one against every other. The time goes into some forty barriers and ten round trips to L2.
//
// Where so many ids tie that they don't fit, lists in global memory take the place: slow, and rare.
#include <cmath>

#include "common/launch.cuh"
#include "ptx/grid_dependency.cuh"
#include "sampling/passes.cuh"
#include "sampling/philox.cuh"

namespace komt::kernels {
namespace {

// One candidate per thread.
constexpr int kMostCandidates = kSampleThreads;
// Loads that a thread has in flight: the compiler moves none across an atomic or a vote.
constexpr int kBatch = 8;

struct ShortList {
  std::int32_t groups[kMostCandidates];
  std::int32_t ids[kMostCandidates];
  float scores[kMostCandidates];
  float weights[kMostCandidates];
};

// Everything that may be among the k largest, and ties with it; at most kMostCandidates, or it returns
// how many there would be or a number above that limit.
__device__ __forceinline__ int list_top(SelectShared& shared, ShortList& list, const float* scores,
                                        const float* maxima, int vocab, float top, int k) {
  const int groups = groups_of(vocab);
  shared.clear<unsigned>();
  __syncthreads();
  for (int first = threadIdx.x; first < groups; first += kBatch * kSampleThreads) {
    float batch[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int group = first + i * kSampleThreads;
      batch[i] = group < groups ? maxima[group] : -INFINITY;
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (first + i * kSampleThreads < groups) {
        atomicAdd(&shared.counts[SelectShared::place_of(step_of(top - batch[i]))], 1u);
      }
    }
  }
  __syncthreads();
  find_bucket(shared, [&](int i) { return shared.in_share<unsigned>(i); }, 0,
              [&](Amount cumulative) { return cumulative >= static_cast<Amount>(k); });
  const int last_step = shared.bucket < 0 ? SelectShared::kBuckets - 1 : shared.bucket;
  const auto matches = [&](float score) {
    return score != -INFINITY && step_of(top - score) <= last_step;
  };

  // A thread looks at neighbouring groups, so that the list is in ascending order.
  const int per_thread = (groups + kSampleThreads - 1) / kSampleThreads;
  const int begin = min(static_cast<int>(threadIdx.x) * per_thread, groups);
  const int end = min(begin + per_thread, groups);
  int count = 0;
#pragma unroll 8
  for (int group = begin; group < end; ++group) count += matches(maxima[group]);
  int listed = 0;
  int at = rank_in_block(shared, count, listed);
  if (listed > kMostCandidates) return listed;  // and every group has at least one
  for (int group = begin; group < end && count > 0; ++group) {
    if (!matches(maxima[group])) continue;
    list.groups[at++] = group;
    --count;
  }
  __syncthreads();

  // A warp looks at neighbouring groups of the list. visit(i, score, votes) for each.
  const int lane = threadIdx.x % 32;
  const int per_warp = (listed + kSampleWarps - 1) / kSampleWarps;
  const int first = min(static_cast<int>(threadIdx.x / 32) * per_warp, listed);
  const int last = min(first + per_warp, listed);
  const auto for_each_group = [&](auto visit) {
    for (int base = first; base < last; base += kBatch) {
      float batch[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int id = base + i < last ? list.groups[base + i] * kGroup + lane : vocab;
        batch[i] = id < vocab ? scores[id] : -INFINITY;
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        visit(base + i, batch[i], __ballot_sync(kFullWarp, matches(batch[i])));
      }
    }
  };
  int in_warp = 0;
  for_each_group([&](int, float, unsigned votes) { in_warp += __popc(votes); });
  int total = 0;
  at = rank_in_block(shared, lane == 31 ? in_warp : 0, total);
  if (total > kMostCandidates) return total;
  at = __shfl_sync(kFullWarp, at, 31);
  for_each_group([&](int i, float score, unsigned votes) {
    if (votes >> lane & 1) {
      const int place = at + __popc(votes & ((1u << lane) - 1));
      list.ids[place] = list.groups[i] * kGroup + lane;
      list.scores[place] = score;
      list.weights[place] = 0;
    }
    at += __popc(votes);
  });
  __syncthreads();
  return total;
}

// Of at most kMostCandidates. Scores of which fewer than k are larger stay.
__device__ __forceinline__ void keep_top(CandidateShared& shared, Candidates& c, int k) {
  const bool mine = static_cast<int>(threadIdx.x) < c.count;
  const float score = mine ? c.scores[threadIdx.x] : INFINITY;
  int larger = 0;
#pragma unroll 4
  for (int i = 0; mine && i < c.count; ++i) larger += c.scores[i] > score;
  keep_if(shared, c, [&](std::int32_t, float, float) { return larger < k; });
}

// filter_top_p() for at most kMostCandidates: every candidate's cumulative probability by itself.
__device__ __forceinline__ void filter_top_p_counted(CandidateShared& shared, Candidates& c,
                                                     double top_p) {
  const float limit = static_cast<float>(1.0 - top_p);
  const float sum = static_cast<float>(c.total);
  // Over the histogram, which nobody needs here.
  Amount* const amounts = shared.select.amounts;
  Amount* const places = amounts + kMostCandidates;
  const bool mine = static_cast<int>(threadIdx.x) < c.count;
  Amount place = 0;
  if (mine) {
    place = place_in_order(c.scores[threadIdx.x], c.ids[threadIdx.x]);
    places[threadIdx.x] = place;
    amounts[threadIdx.x] = amount_of(__fdiv_rn(c.weights[threadIdx.x], sum));
  }
  __syncthreads();
  Amount cumulative = 0;
  bool is_last = true;
#pragma unroll 4
  for (int i = 0; mine && i < c.count; ++i) {
    const bool behind = places[i] > place;
    is_last &= !behind;
    cumulative += behind ? 0 : amounts[i];
  }
  const bool goes = !is_last && probability_of(cumulative) <= limit;
  keep_if(shared, c, [&](std::int32_t, float, float) { return !goes; });
}

// Of the whole row: everything that isn't smaller than the k-th largest and has any probability.
__device__ __forceinline__ void list_candidates(CandidateShared& shared, Candidates& c, int vocab,
                                                int top_k) {
  const Amount others = static_cast<Amount>(vocab - top_k);
  const std::uint32_t least = find_cut(
      shared.select, vocab, [&](int i) { return order_key(c.scores[i]); }, [](int) { return 1u; },
      [&](Amount cumulative) { return cumulative > others; }).key;
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

__global__ void __launch_bounds__(kSampleThreads, 1)
    draw_from_list_kernel(SampleArgs args, RandomWorkspace workspace) {
  KOMT_SHARED(CandidateShared, shared, );
  KOMT_SHARED(ShortList, list, );
  KOMT_SHARED(std::uint32_t, warp_keys, [kSampleWarps]);
  ptx::grid_dependency_launch();
  ptx::grid_dependency_wait();
  const int row = blockIdx.x;
  const SamplingSettings& settings = args.settings;
  const std::size_t at = static_cast<std::size_t>(row) * args.vocab;
  const int slices = slices_of(args.vocab);
  const float top =
      top_over_slices(workspace.tops[0], static_cast<std::size_t>(row) * slices, slices, warp_keys);
  if (top != top) {
    if (threadIdx.x == 0) {
      args.tokens[row] = -1;
      if (args.logprobs != nullptr) args.logprobs[row] = NAN;
    }
    return;
  }
  float* const scores = args.logits + at;
  const float* const maxima =
      workspace.groups + static_cast<std::size_t>(row) * groups_of(args.vocab);
  Candidates c{list.ids, list.scores, list.weights, 0, 0, 0};
  c.count = list_top(shared.select, list, scores, maxima, args.vocab, top, settings.top_k);
  const bool is_short = c.count <= kMostCandidates;
  if (is_short) {
    keep_top(shared, c, settings.top_k);
  } else {
    c = {workspace.ids + at, scores, workspace.weights + at, 0, 0, 0};
    list_candidates(shared, c, args.vocab, settings.top_k);
  }
  weigh(shared, c);
  if (settings.top_p < 1.0) {
    if (is_short) {
      filter_top_p_counted(shared, c, settings.top_p);
    } else {
      filter_top_p(shared, c, settings.top_p);
    }
  }
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

cudaError_t draw_from_list(const SampleArgs& args, const RandomWorkspace& workspace,
                           cudaStream_t stream) {
  return launch(draw_from_list_kernel,
                LaunchConfig{.grid = dim3(args.rows),
                             .block = dim3(kSampleThreads),
                             .stream = stream,
                             .programmatic_dependent_launch = true},
                args, workspace);
}

}  // namespace komt::kernels
