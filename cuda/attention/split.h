// How the decode kernel cuts a sequence's cache into parts: by its own length and the heads alone, so
// that a result never depends on what else is in the batch.
#pragma once

#include "common/platform.cuh"

namespace komt::kernels {

// Query heads that one block of the decode kernel takes: the rows of an mma tile.
inline constexpr int kDecodeQueryRows = 16;

// Blocks per key/value head that its query heads need.
__host__ __device__ constexpr int decode_row_tiles(int num_heads, int num_kv_heads) {
  return (num_heads / num_kv_heads + kDecodeQueryRows - 1) / kDecodeQueryRows;
}

struct SplitPlan {
  int pages_per_split;
  int splits;  // none of them empty
};

// About kSplitBlocks blocks per sequence: enough to fill 132 SMs twice and to leave a short tail. Parts of
// fewer than two pages would be mostly start and end, longer ones than 16 gain nothing.
inline constexpr int kSplitBlocks = 512;
inline constexpr int kMinSplitPages = 2;
inline constexpr int kMaxSplitPages = 16;

// head_tiles: num_kv_heads * decode_row_tiles().
__host__ __device__ constexpr SplitPlan split_plan(int pages, int head_tiles) {
  long long per_split =
      (static_cast<long long>(pages) * head_tiles + kSplitBlocks - 1) / kSplitBlocks;
  if (per_split < kMinSplitPages) per_split = kMinSplitPages;
  if (per_split > kMaxSplitPages) per_split = kMaxSplitPages;
  const int pages_per_split = static_cast<int>(per_split);
  return {pages_per_split, (pages + pages_per_split - 1) / pages_per_split};
}

// At least split_plan(p, head_tiles).splits for every p <= pages. The number of splits isn't
// monotonic where pages_per_split grows: there it stays below kSplitBlocks / head_tiles + 1.
constexpr int max_splits_of(int pages, int head_tiles) {
  const int shortest = (pages + kMinSplitPages - 1) / kMinSplitPages;
  const int middle = kSplitBlocks / head_tiles + 1;
  const int longest = (pages + kMaxSplitPages - 1) / kMaxSplitPages;
  const int bounded = shortest < middle ? shortest : middle;
  const int splits = bounded > longest ? bounded : longest;
  return splits > 1 ? splits : 1;
}

}  // namespace komt::kernels
