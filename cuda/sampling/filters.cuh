// What the filters of a draw ask of one id, in the kernels that pass over whole rows.
//
// A kernel that finds a limit doesn't apply it: the next one does, when it has the ids in its hands anyway.
// An id that is out of the draw has a score of -infinity and no weight.
#pragma once

#include "sampling/candidates.cuh"
#include "sampling/slices.cuh"

namespace komt::kernels {

// The filter whose limit is known and that has yet to be applied.
enum class Pending { kNone, kThreshold, kLeastProbability, kDistance };

// e^x for x <= 0. What has no weight counts for nothing: it doesn't change a sum that has a 1 in it.
__device__ __forceinline__ double exponential_of(float x) {
  return x < -104.0f ? 0.0 : exp(static_cast<double>(x));
}

// |surprise - entropy| of typical_p.
struct Surprise {
  float top;
  float shift;
  float entropy;

  __device__ __forceinline__ float log_p(float score) const { return (score - top) - shift; }
  __device__ __forceinline__ float distance(float score) const {
    return fabsf(-log_p(score) - entropy);
  }
};

// In this order as a number: the score, then the id.
__device__ __forceinline__ unsigned long long place_in_order(float score, int id) {
  return static_cast<unsigned long long>(order_key(score)) << 32 | static_cast<unsigned>(id);
}

struct Filter {
  Pending pending;
  unsigned long long threshold;
  float divisor;
  float least_probability;
  Surprise surprise;
  std::uint32_t farthest;

  // Of an id that is still in the draw.
  __device__ __forceinline__ bool keeps(int id, float score, float weight) const {
    switch (pending) {
      case Pending::kThreshold: return place_in_order(score, id) >= threshold;
      case Pending::kLeastProbability: return !(__fdiv_rn(weight, divisor) < least_probability);
      case Pending::kDistance: return order_key(surprise.distance(score)) <= farthest;
      default: return true;
    }
  }
};

// `sums` are those of the last kernel that wrote any. The scratch is free again behind a barrier.
__device__ __forceinline__ Filter filter_of(const Slice& slice, Pending pending, float min_p,
                                            const SliceSums* sums, double* scratch) {
  const RowState& state = *slice.state;
  Filter filter{pending, 0, 0, 0, {}, 0};
  if (pending == Pending::kThreshold) filter.threshold = state.threshold;
  if (pending == Pending::kLeastProbability) {
    filter.divisor = static_cast<float>(sum_over_slices(slice, sums, scratch).weights);
    // The best score is still there, and its weight is 1.
    filter.least_probability = __fmul_rn(min_p, __fdiv_rn(1.0f, filter.divisor));
  }
  if (pending == Pending::kDistance) {
    filter.surprise = {state.top, state.shift, state.entropy};
    filter.farthest = state.farthest;
  }
  return filter;
}

// visit(id, score, weight) for what is still in the draw and stays there; the rest goes. Not for all lanes
// of a warp together.
template <class Visit>
__device__ __forceinline__ void for_each_kept(const Slice& slice, const Filter& filter, Visit visit) {
  for_each_id<true>(slice, [&](int id, float score, float weight) {
    if (score == -INFINITY) return;
    if (filter.keeps(id, score, weight)) {
      visit(id, score, weight);
    } else {
      slice.scores[id] = -INFINITY;
      slice.weights[id] = 0;
    }
  });
}

}  // namespace komt::kernels
