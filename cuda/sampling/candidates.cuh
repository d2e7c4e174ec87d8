// The ids that may still be drawn, with their scores and weights, and the filters that thin them out.
// The steps and their rounding are listed in sampling.h.
#pragma once

#include "sampling/block_select.cuh"
#include "sampling/scores.cuh"

namespace komt::kernels {

// Lists of `count` in global memory, in ascending order of id.
struct Candidates {
  std::int32_t* ids;
  float* scores;
  float* weights;
  int count;
  float top;     // largest score
  double total;  // of the weights
};

struct CandidateShared {
  SelectShared select;
  double sums[kSampleWarps];
  float tops[kSampleWarps];
  int found;
};

// Of value(i) over i < count, in an order that depends on `count` alone.
template <class Value>
__device__ __forceinline__ double sum_of(CandidateShared& shared, int count, Value value) {
  double sum = 0;
  for (int i = threadIdx.x; i < count; i += kSampleThreads) sum += value(i);
  __syncthreads();
  return block_sum<kSampleThreads>(sum, shared.sums);
}

// Weights and total from the scores, relative to the largest.
__device__ __forceinline__ void weigh(CandidateShared& shared, Candidates& c) {
  float top = -INFINITY;
  for (int i = threadIdx.x; i < c.count; i += kSampleThreads) top = fmaxf(top, c.scores[i]);
  __syncthreads();
  c.top = block_max<kSampleThreads>(top, shared.tops);
  c.total = sum_of(shared, c.count, [&](int i) {
    return static_cast<double>(c.weights[i] = exp_rounded(c.scores[i] - c.top));
  });
}

// The list is moved together in place.
template <class Keep>
__device__ __forceinline__ void keep_if(CandidateShared& shared, Candidates& c, Keep keep) {
  std::int32_t id = 0;
  float score = 0;
  float weight = 0;
  c.count = for_each_match(
      shared.select, c.count,
      [&](int i) {
        id = c.ids[i];
        score = c.scores[i];
        weight = c.weights[i];
        return keep(id, score, weight);
      },
      [&](int rank, int) {
        c.ids[rank] = id;
        c.scores[rank] = score;
        c.weights[rank] = weight;
      });
  c.total = sum_of(shared, c.count, [&](int i) { return static_cast<double>(c.weights[i]); });
}

// A probability in units of 2^-62, so that sums are exact: up to 2^24 of them, about 2^62 together.
__device__ __forceinline__ Amount amount_of(float probability) {
  return static_cast<Amount>(static_cast<double>(probability) * 0x1p62);
}
__device__ __forceinline__ float probability_of(Amount amount) {
  return static_cast<float>(static_cast<double>(amount) * 0x1p-62);
}

// The largest n < ties of which probability_of(before + n * each) doesn't exceed the limit.
__device__ __forceinline__ int dropped_ties(Amount before, Amount each, int ties, float limit) {
  int low = 0;
  int high = ties - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (probability_of(before + each * middle) > limit) {
      high = middle - 1;
    } else {
      low = middle;
    }
  }
  return low;
}

__device__ __forceinline__ void filter_top_p(CandidateShared& shared, Candidates& c, double top_p) {
  const float limit = static_cast<float>(1.0 - top_p);
  const float sum = static_cast<float>(c.total);
  const Cut cut = find_cut(
      shared.select, c.count, [&](int i) { return order_key(c.scores[i]); },
      [&](int i) { return amount_of(__fdiv_rn(c.weights[i], sum)); },
      [&](Amount cumulative) { return probability_of(cumulative) > limit; });
  // When everything would have to go, the best score's last id stays.
  const std::uint32_t least = cut.passed ? cut.key : order_key(c.top);
  // Among equal scores the lower ids go first.
  const auto nth_tie = [&](int n) {
    const int ties = for_each_match(
        shared.select, c.count, [&](int i) { return order_key(c.scores[i]) == least; },
        [&](int rank, int i) {
          if (rank == n) shared.found = c.ids[i];
        });
    return ties;
  };
  const int ties = nth_tie(0);
  int dropped = ties - 1;
  if (cut.passed) dropped = dropped_ties(cut.before, cut.at / ties, ties, limit);
  if (dropped > 0) nth_tie(dropped);
  const std::int32_t first_id = shared.found;
  keep_if(shared, c, [&](std::int32_t id, float score, float) {
    const std::uint32_t key = order_key(score);
    return key > least || (key == least && id >= first_id);
  });
}

__device__ __forceinline__ void filter_min_p(CandidateShared& shared, Candidates& c, float min_p) {
  const float sum = static_cast<float>(c.total);
  // The best score is still there, and its weight is 1.
  const float limit = __fmul_rn(min_p, __fdiv_rn(1.0f, sum));
  keep_if(shared, c, [&](std::int32_t, float, float weight) {
    return !(__fdiv_rn(weight, sum) < limit);
  });
}

__device__ __forceinline__ void filter_typical(CandidateShared& shared, Candidates& c, float mass) {
  const double exponentials = sum_of(shared, c.count, [&](int i) {
    return exp(static_cast<double>(c.scores[i] - c.top));
  });
  const float shift = static_cast<float>(log(exponentials));
  const auto log_p = [&](float score) { return (score - c.top) - shift; };
  const double sum = sum_of(shared, c.count, [&](int i) {
    const float l = log_p(c.scores[i]);
    return static_cast<double>(__fmul_rn(l, static_cast<float>(exp(static_cast<double>(l)))));
  });
  const float entropy = static_cast<float>(-sum);
  const auto distance_key = [&](float score) { return order_key(fabsf(-log_p(score) - entropy)); };
  const float divisor = static_cast<float>(c.total);
  const Cut cut = find_cut(
      shared.select, c.count, [&](int i) { return distance_key(c.scores[i]); },
      [&](int i) { return amount_of(__fdiv_rn(c.weights[i], divisor)); },
      [&](Amount cumulative) { return !(probability_of(cumulative) < mass); });
  if (cut.passed) {
    keep_if(shared, c,
            [&](std::int32_t, float score, float) { return distance_key(score) <= cut.key; });
  }
  // The best score may be among those that went.
  weigh(shared, c);
}

// Index of the first of begin <= i < end at which `before` plus the running sum of weight_of(i) exceeds
// the target; `before` becomes the sum in front of it. The list is cut into as many ranges as there are
// warps until few are left; no sum is of more than one range.
template <class WeightOf>
__device__ __forceinline__ int find_drawn(double* warp_sums, int begin, int end, double& before,
                                          double target, WeightOf weight_of) {
  const int warp = threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  // Rounding may leave the last sum at or below the target: then it is the last id of weight.
  const auto first_above = [&](int parts, auto weight_of_part) {
    int chosen = 0;
    double chosen_before = before;
    double running = before;
    for (int part = 0; part < parts; ++part) {
      const double weight = weight_of_part(part);
      if (!(weight > 0)) continue;
      chosen = part;
      chosen_before = running;
      running += weight;
      if (running > target) break;
    }
    before = chosen_before;
    return chosen;
  };
  while (end - begin > kSampleWarps) {
    const int span = (end - begin + kSampleWarps - 1) / kSampleWarps;
    const int first = begin + warp * span;
    const int last = min(first + span, end);
    double sum = 0;
    for (int i = first + lane; i < last; i += 32) sum += weight_of(i);
    sum = warp_sum(sum);
    __syncthreads();
    if (lane == 0) warp_sums[warp] = sum;
    __syncthreads();
    begin += first_above(kSampleWarps, [&](int part) { return warp_sums[part]; }) * span;
    end = min(begin + span, end);
  }
  return begin + first_above(end - begin, [&](int part) { return weight_of(begin + part); });
}

__device__ __forceinline__ int draw(CandidateShared& shared, const Candidates& c, double u) {
  double before = 0;
  return find_drawn(shared.sums, 0, c.count, before, u * c.total,
                    [&](int i) { return static_cast<double>(c.weights[i]); });
}

// float32(score - top) - float32(log(sum of exponentials)).
__device__ __forceinline__ float log_probability(CandidateShared& shared, const Candidates& c,
                                                 float score) {
  const double sum = sum_of(shared, c.count, [&](int i) {
    return exp(static_cast<double>(c.scores[i] - c.top));
  });
  return (score - c.top) - static_cast<float>(log(sum));
}

}  // namespace komt::kernels
