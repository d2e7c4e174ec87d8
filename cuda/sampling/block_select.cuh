// What a block finds in a list without sorting it: where a cumulative sum over sorted keys passes a
// limit, and the matches of a predicate in order.
//
// Every sum here is of integers, so atomics in any order give one result.
#pragma once

#include <type_traits>

#include "common/reduce.cuh"

namespace komt::kernels {

// One row has one block. Its passes are bound by latency, which asks for many threads, and its barriers
// by their number, which asks for few; at 512 every thread may have 128 registers.
inline constexpr int kSampleThreads = 512;
inline constexpr int kSampleWarps = kSampleThreads / 32;

using Amount = unsigned long long;

struct SelectShared {
  static constexpr int kBuckets = 4096;
  static constexpr int kPerThread = kBuckets / kSampleThreads;
  // A gap behind every thread's share, so that a warp reads its shares from different banks.
  static constexpr int kPlaces = kBuckets + kSampleThreads;
  // Shared memory adds 32-bit integers by itself, 64-bit ones in a loop that tries again: what only
  // counts has the former.
  union {
    Amount amounts[kPlaces];
    unsigned counts[kPlaces];
  };
  Amount warp_sums[kSampleWarps];
  Amount before;
  Amount at;
  int bucket;
  int warp_counts[2][kSampleWarps];

  static __device__ __forceinline__ int place_of(int bucket) { return bucket + bucket / kPerThread; }

  template <class Value>
  __device__ __forceinline__ Value* histogram() {
    static_assert(std::is_same_v<Value, Amount> || std::is_same_v<Value, unsigned>);
    if constexpr (std::is_same_v<Value, Amount>) {
      return amounts;
    } else {
      return counts;
    }
  }

  // Ends without a barrier.
  template <class Value>
  __device__ __forceinline__ void clear() {
    for (int i = threadIdx.x; i < kPlaces; i += kSampleThreads) histogram<Value>()[i] = 0;
  }

  // Bucket i of the thread's share.
  template <class Value>
  __device__ __forceinline__ Value in_share(int i) {
    return histogram<Value>()[threadIdx.x * (kPerThread + 1) + i];
  }
};

// The key at which a cumulative sum passed.
struct Cut {
  bool passed;        // false: not even all of it does
  std::uint32_t key;
  Amount before;      // of all smaller keys
  Amount at;          // of this key
};

// The bucket at which `before` plus the cumulative sum over all threads' shares passes, into
// shared.bucket (-1: none), with the sum of those below it and its own amount. in_share(i) is bucket i of
// the thread's share; it is asked twice, which costs less than to keep them.
template <class InShare, class Passes>
__device__ __forceinline__ void find_bucket(SelectShared& shared, InShare in_share, Amount before,
                                            Passes passes) {
  using Value = decltype(in_share(0));
  constexpr int kPerThread = SelectShared::kPerThread;
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  Value sum = 0;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) sum += in_share(i);
  Value inclusive = sum;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const Value below = __shfl_up_sync(kFullWarp, inclusive, offset);
    if (lane >= offset) inclusive += below;
  }
  if (lane == 31) shared.warp_sums[warp] = inclusive;
  if (threadIdx.x == 0) shared.bucket = -1;
  __syncthreads();
  Amount running = before + inclusive - sum;
  for (int w = 0; w < warp; ++w) running += shared.warp_sums[w];
  if (!passes(running) && passes(running + sum)) {
    bool found = false;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const Value amount = in_share(i);
      if (!found && passes(running + amount)) {
        found = true;
        shared.bucket = threadIdx.x * kPerThread + i;
        shared.before = running;
        shared.at = amount;
      }
      running += amount;
    }
  }
  __syncthreads();
}

// Over elements i < count in ascending order of key_of(i), the key with which the sum of amount_of(i),
// and of `below` for what isn't among them, first passes. Amounts are Amount, or unsigned where the sum of all fits. `passes` is monotonic and
// false of `below`. Three passes over the list, by 12, 12 and 8 bits of the key.
template <class KeyOf, class AmountOf, class Passes>
__device__ __forceinline__ Cut find_cut(SelectShared& shared, int count, KeyOf key_of,
                                        AmountOf amount_of, Passes passes, Amount below = 0) {
  using Value = decltype(amount_of(0));
  Value* const histogram = shared.histogram<Value>();
  Cut cut{false, 0, below, 0};
  int shift = 20;
  for (int level = 0; level < 3; ++level) {
    __syncthreads();  // whoever still reads the last histogram
    shared.clear<Value>();
    __syncthreads();
    const int digit_bits = level < 2 ? 12 : 8;
    const int prefix_shift = shift + digit_bits;
    for (int i = threadIdx.x; i < count; i += kSampleThreads) {
      const std::uint32_t key = key_of(i);
      if (level == 0 || key >> prefix_shift == cut.key >> prefix_shift) {
        const int bucket = static_cast<int>(key >> shift & ((1u << digit_bits) - 1));
        atomicAdd(&histogram[SelectShared::place_of(bucket)], amount_of(i));
      }
    }
    __syncthreads();
    find_bucket(shared, [&](int i) { return shared.in_share<Value>(i); }, cut.before, passes);
    if (shared.bucket < 0) return cut;
    cut.key |= static_cast<std::uint32_t>(shared.bucket) << shift;
    cut.before = shared.before;
    cut.at = shared.at;
    shift = level == 0 ? 8 : 0;
  }
  cut.passed = true;
  return cut;
}

// The sum of `count` over the threads before this one, and over all of them.
__device__ __forceinline__ int rank_in_block(SelectShared& shared, int count, int& total) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  int inclusive = count;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const int below = __shfl_up_sync(kFullWarp, inclusive, offset);
    if (lane >= offset) inclusive += below;
  }
  __syncthreads();  // earlier readers of the counts
  if (lane == 31) shared.warp_counts[0][warp] = inclusive;
  __syncthreads();
  const int counted = lane < kSampleWarps ? shared.warp_counts[0][lane] : 0;
  total = warp_sum(counted);
  return warp_sum(lane < warp ? counted : 0) + inclusive - count;
}

// visit(rank, i) for the elements that match(i), rank counting them from 0 in ascending i; returns how
// many there are. Both run in the same thread for one i, with all matches of earlier elements and of
// the neighbouring kSampleThreads before their visits: visits may overwrite elements up to `rank`.
template <class Match, class Visit>
__device__ __forceinline__ int for_each_match(SelectShared& shared, int count, Match match,
                                              Visit visit) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  int total = 0;
  int buffer = 0;
  __syncthreads();  // earlier writes to the list, and earlier readers of the counts
  for (int first = 0; first < count; first += kSampleThreads) {
    const int i = first + threadIdx.x;
    const bool matches = i < count && match(i);
    const unsigned votes = __ballot_sync(kFullWarp, matches);
    if (lane == 0) shared.warp_counts[buffer][warp] = __popc(votes);
    __syncthreads();
    const int counted = lane < kSampleWarps ? shared.warp_counts[buffer][lane] : 0;
    const int before = warp_sum(lane < warp ? counted : 0);
    if (matches) visit(total + before + __popc(votes & ((1u << lane) - 1)), i);
    total += warp_sum(counted);
    // The next round counts into the other half, so one barrier a round is enough.
    buffer ^= 1;
  }
  __syncthreads();  // the visits' writes
  return total;
}

}  // namespace komt::kernels
