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

// Query heads of the first of them, the fullest.
__host__ __device__ constexpr int decode_tile_rows(int num_heads, int num_kv_heads) {
  const int group = num_heads / num_kv_heads;
  return group < kDecodeQueryRows ? group : kDecodeQueryRows;
}

// Where a block stands: one sequence, up to 16 query heads of one key/value head, a range of pages.
struct Place {
  int sequence;
  int token;
  int kv_head;
  int first_head;  // of the query heads
  int heads;       // 1 to 16
  int kv_length;
  int first_key;  // the window's; earlier ones are not seen
  int page_begin;
  int page_end;
  int split;
  int splits;
};

struct SplitPlan {
  int pages_per_split;
  int splits;  // none of them empty
};

// About kSplitBlocks blocks per sequence: enough to fill 132 SMs three times over and to leave a short
// tail. Parts of fewer than two pages would be mostly start and end, longer ones than 16 gain nothing.
//
// The parts of a tile of query heads are merged by one block, 4 * head_dim bytes for each part and
// head: more than kMergeRows of them (64 KiB for heads of 128) would take longer than the finer
// division saves. It is grouped heads that this makes coarser: for 70B, 8 heads to a tile and 8 tiles,
// 16 parts a tile, a block for each of 128 SMs.
inline constexpr int kSplitBlocks = 512;
inline constexpr int kMergeRows = 128;
inline constexpr int kMinSplitPages = 2;
inline constexpr int kMaxSplitPages = 16;

// head_tiles: num_kv_heads * decode_row_tiles(); rows: decode_tile_rows(). 32 bits suffice, since more
// pages than are looked at get the longest parts whatever the heads.
__host__ __device__ constexpr SplitPlan split_plan(int pages, int head_tiles, int rows) {
  constexpr int kMostPages = kMaxSplitPages * kSplitBlocks;
  const unsigned looked_at = pages < kMostPages ? pages : kMostPages;
  const unsigned by_blocks = (looked_at * head_tiles + kSplitBlocks - 1) / kSplitBlocks;
  const unsigned by_merge = (looked_at * rows + kMergeRows - 1) / kMergeRows;
  unsigned per_split = by_blocks > by_merge ? by_blocks : by_merge;
  if (per_split < kMinSplitPages) per_split = kMinSplitPages;
  if (per_split > kMaxSplitPages) per_split = kMaxSplitPages;
  const int pages_per_split = static_cast<int>(per_split);
  return {pages_per_split, (pages + pages_per_split - 1) / pages_per_split};
}

// At least split_plan(p, head_tiles, rows).splits for every p <= pages and any rows. The number of splits isn't
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
