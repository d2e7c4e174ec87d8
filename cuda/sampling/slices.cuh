// A row cut into slices, one block each, and what the kernels that pass over it leave for each other.
//
// How a row is cut depends on the number of ids alone. Within a slice sums are taken by thread, lane and
// warp, then over slices by lane and warp: another number of rows or SMs changes no bit.
#pragma once

#include "sampling/block_select.cuh"
#include "sampling/sampling.h"
#include "sampling/scores.cuh"

namespace komt::kernels {

// More blocks per row would each begin with the same reductions; fewer would have more to compute. At 8, a
// row of 128,256 ids has 32 blocks, and 16 such rows fill an H200 twice.
inline constexpr int kPerThread = 8;
inline constexpr int kTile = kSampleThreads * kPerThread;
// One each for 262,144 ids. Every block begins with a reduction over them: one load of a thread.
inline constexpr int kMostSlices = 64;
static_assert(kMostSlices <= kSampleThreads);
// Ids that the top-k list takes or leaves together: a warp's coalesced load.
inline constexpr int kGroup = 32;
// One histogram for each of top_k, top_p and typical_p, all cleared at the start.
inline constexpr int kCuts = 3;

__host__ __device__ inline int slice_length(int vocab) {
  const int tiles = (vocab + kTile - 1) / kTile;
  return (tiles + kMostSlices - 1) / kMostSlices * kTile;
}
__host__ __device__ inline int slices_of(int vocab) {
  return (vocab + slice_length(vocab) - 1) / slice_length(vocab);
}

struct SliceSums {
  double weights;
  double exponentials;  // the weights before they were rounded to float32; or another sum
};

// What a whole row has become so far, written by one block of a kernel for the kernels behind it.
struct RowState {
  unsigned long long threshold;  // order_key(score) << 32 | id of the first that stays
  double total;                  // of the weights that probabilities are relative to
  float top;                     // NaN: the row can't be sampled
  float shift;                   // log of the sum of exponentials
  float entropy;
  std::uint32_t farthest;  // distance key of the last that typical_p keeps
  unsigned edges[kCuts];   // ids listed for a cut
};

struct RandomWorkspace {
  RowState* states;     // [rows]
  SliceSums* sums[2];   // [rows, slices] the next kernel writes those that it doesn't read
  std::uint32_t* tops[2];  // [rows, slices] order_key of the largest score
  Amount* histograms;   // [rows, kCuts, buckets]
  float* groups;        // [rows, groups] largest score of each group
  float* weights;       // [rows, vocab]
  std::int32_t* ids;    // [rows, vocab] lists of candidates

  // An index that isn't constant would move the parameter to local memory.
  __device__ __forceinline__ SliceSums* sums_at(int i) const { return i == 0 ? sums[0] : sums[1]; }
  __device__ __forceinline__ std::uint32_t* tops_at(int i) const { return i == 0 ? tops[0] : tops[1]; }
};

__host__ __device__ inline int groups_of(int vocab) { return (vocab + kGroup - 1) / kGroup; }

// A block's view of its row and slice.
struct Slice {
  float* scores;  // -infinity: out of the draw
  float* weights;
  std::int32_t* ids;
  RowState* state;
  std::size_t partials;  // index of the row's first
  int row;
  int index;
  int count;  // slices
  int begin;  // ids
  int end;
};

__device__ __forceinline__ Slice this_slice(const SampleArgs& args, const RandomWorkspace& workspace) {
  const int row = blockIdx.y;
  const int index = blockIdx.x;
  const int length = slice_length(args.vocab);
  const std::size_t at = static_cast<std::size_t>(row) * args.vocab;
  return {args.logits + at,
          workspace.weights + at,
          workspace.ids + at,
          workspace.states + row,
          static_cast<std::size_t>(row) * gridDim.x,
          row,
          index,
          static_cast<int>(gridDim.x),
          index * length,
          min((index + 1) * length, args.vocab)};
}

// visit(id, score, weight) of the slice's ids, in ascending order in each thread. All lanes of a warp
// visit together; those past the end see an id of -1 that is out of the draw. A thread's loads are all
// in flight before the first visit.
template <bool kWithWeights, class Visit>
__device__ __forceinline__ void for_each_id(const Slice& slice, Visit visit) {
  for (int first = slice.begin; first < slice.end; first += kTile) {
    float scores[kPerThread];
    float weights[kPerThread];
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int id = first + i * kSampleThreads + static_cast<int>(threadIdx.x);
      scores[i] = id < slice.end ? slice.scores[id] : -INFINITY;
      weights[i] = kWithWeights && id < slice.end ? slice.weights[id] : 0.0f;
    }
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int id = first + i * kSampleThreads + static_cast<int>(threadIdx.x);
      visit(id < slice.end ? id : -1, scores[i], weights[i]);
    }
  }
}

__device__ __forceinline__ SliceSums sum_over_slices(const Slice& slice, const SliceSums* sums,
                                                     double* scratch) {
  SliceSums mine{0, 0};
  if (static_cast<int>(threadIdx.x) < slice.count) mine = sums[slice.partials + threadIdx.x];
  mine.weights = block_sum<kSampleThreads>(mine.weights, scratch);
  mine.exponentials = block_sum<kSampleThreads>(mine.exponentials, scratch + kSampleWarps);
  return mine;
}

// The sums of a slice, for the kernel behind. Scratch is of two times kSampleWarps, and free.
__device__ __forceinline__ void write_sums(const Slice& slice, SliceSums* sums, SliceSums mine,
                                           double* scratch) {
  mine.weights = block_sum<kSampleThreads>(mine.weights, scratch);
  mine.exponentials = block_sum<kSampleThreads>(mine.exponentials, scratch + kSampleWarps);
  if (threadIdx.x == 0) sums[slice.partials + slice.index] = mine;
}

// The score that has this order_key, -0 as 0.
__device__ __forceinline__ float score_of_key(std::uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// The row's largest score, from the slices'; NaN where there is nothing to draw from: beyond the finite
// numbers on either side are invalid logits, or every id is forbidden.
__device__ __forceinline__ float top_over_slices(const std::uint32_t* tops, std::size_t partials,
                                                 int slices, std::uint32_t* scratch) {
  std::uint32_t top = 0;
  if (static_cast<int>(threadIdx.x) < slices) top = tops[partials + threadIdx.x];
  top = block_max<kSampleThreads>(top, scratch);
  if (top >= order_key(INFINITY) || top <= order_key(-INFINITY)) return NAN;
  return score_of_key(top);
}

// 4,096 equal steps of what is at most 105 below the largest score (less has no weight), or of any other
// distance: ascending, the last step open, NaN in it.
__device__ __forceinline__ int step_of(float distance) {
  constexpr float kStepsPerUnit = 39.0f;
  return static_cast<int>(fminf(distance * kStepsPerUnit, float(SelectShared::kBuckets - 1)));
}

}  // namespace komt::kernels
