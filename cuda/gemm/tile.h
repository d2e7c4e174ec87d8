// The block shapes of the tensor-core kernel, and which one a problem is computed with.
#pragma once

#include <algorithm>
#include <cstdint>

namespace komt::kernels {

// A block computes kBlockM x kBlockN results from kBlockK columns at a time, kStages of them in
// shared memory; a warp owns kWarpM x kWarpN of the results.
template <int kBlockM_, int kBlockN_, int kBlockK_, int kWarpM_, int kWarpN_, int kStages_>
struct GemmTile {
  static constexpr int kBlockM = kBlockM_;
  static constexpr int kBlockN = kBlockN_;
  static constexpr int kBlockK = kBlockK_;
  static constexpr int kWarpM = kWarpM_;
  static constexpr int kWarpN = kWarpN_;
  static constexpr int kStages = kStages_;
  static constexpr int kWarpsM = kBlockM / kWarpM;
  static constexpr int kWarpsN = kBlockN / kWarpN;
  static constexpr int kThreads = 32 * kWarpsM * kWarpsN;
  static constexpr int kStageElements = (kBlockM + kBlockN) * kBlockK;
  static constexpr int kSharedBytes = kStages * kStageElements * 2;

  static_assert(kBlockM % kWarpM == 0 && kBlockN % kWarpN == 0);
  static_assert(kWarpM % 16 == 0 && kWarpN % 8 == 0, "a warp's part is whole m16n8 fragments");
  static_assert(kBlockK % 32 == 0, "steps of 16 alternate between two sets of fragments");
  static_assert(kStages >= 3);
  static_assert(kSharedBytes <= 96 * 1024, "must run where a block has 99 KiB: sm_86, 89 and 120");
};

// While a block waits, all stages but one are in flight. Weights of the narrow tiles have to be
// kept flowing for HBM's bandwidth, 27 KiB for each SM, and have 40, 48, 40 and 24 KiB for each
// block.
using Tile16x32 = GemmTile<16, 32, 128, 16, 8, 6>;
using Tile16x64 = GemmTile<16, 64, 128, 16, 16, 4>;
using Tile32x64 = GemmTile<32, 64, 64, 16, 32, 6>;
using Tile64x64 = GemmTile<64, 64, 64, 32, 32, 4>;
using Tile64x128 = GemmTile<64, 128, 32, 32, 64, 5>;
using Tile128x128 = GemmTile<128, 128, 32, 64, 64, 3>;
using Tile128x256 = GemmTile<128, 256, 32, 64, 64, 4>;

// As above for wgmma: a warpgroup of four warps owns 64 rows and all columns. Rows of kBlockK are 128
// bytes, the width of its swizzle.
template <int kBlockM_, int kBlockN_, int kStages_, int kBlocksPerSm_>
struct WgmmaTile {
  static constexpr int kBlockM = kBlockM_;
  static constexpr int kBlockN = kBlockN_;
  static constexpr int kBlockK = 64;
  static constexpr int kStages = kStages_;
  static constexpr int kBlocksPerSm = kBlocksPerSm_;
  static constexpr int kThreads = 2 * kBlockM;
  static constexpr int kStageElements = (kBlockM + kBlockN) * kBlockK;
  static constexpr int kSharedBytes = kStages * kStageElements * 2;

  static_assert(kBlockM % 64 == 0 && kStages >= 4);
  static_assert(kBlocksPerSm * (kSharedBytes + 1024) <= 228 * 1024);
};

using Wgmma64x64 = WgmmaTile<64, 64, 6, 2>;
using Wgmma64x128 = WgmmaTile<64, 128, 4, 2>;
using Wgmma128x128 = WgmmaTile<128, 128, 6, 1>;
using Wgmma128x160 = WgmmaTile<128, 160, 6, 1>;
using Wgmma128x256 = WgmmaTile<128, 256, 4, 1>;

enum class TileId : std::uint8_t {
  k16x32,
  k16x64,
  k32x64,
  k64x64,
  k64x128,
  k128x128,
  k128x256,
  // With wgmma: only where wgmma_available() says so.
  kWgmma64x64,
  kWgmma64x128,
  kWgmma128x128,
  kWgmma128x160,
  kWgmma128x256,
  kCount
};

constexpr bool uses_wgmma(TileId tile) { return tile >= TileId::kWgmma64x64 && tile < TileId::kCount; }

// What a tile was measured to take, as fitted to bench/kernels' gemm_tiles on an H200 (132 SMs): 72
// shapes of 7B and 13B layers with 32 to 4096 rows. On other devices the proportions are taken to hold.
struct TileShape {
  TileId id;
  int m;
  int n;
  int per_sm;       // blocks that an SM runs at once
  double shared;    // nanoseconds of a block for a step of one along k, where an SM has as many as it can
  double alone;     // where it has one
  double overhead;  // microseconds to fill the pipeline and for the epilogue
};
inline constexpr TileShape kTileShapes[] = {
    {TileId::k16x32, 16, 32, 2, 1.44, 2.19, 0.2},
    {TileId::k16x64, 16, 64, 2, 2.39, 4.51, 0.2},
    {TileId::k32x64, 32, 64, 2, 2.80, 4.21, 2.5},
    {TileId::k64x64, 64, 64, 2, 4.25, 6.02, 1.8},
    {TileId::k64x128, 64, 128, 2, 7.23, 9.33, 2.4},
    {TileId::k128x128, 128, 128, 2, 11.4, 16.3, 9.6},
    {TileId::k128x256, 128, 256, 1, 20.8, 20.8, 8.7},
    {TileId::kWgmma64x64, 64, 64, 2, 2.65, 3.50, 4.2},
    {TileId::kWgmma64x128, 64, 128, 2, 4.77, 6.92, 6.5},
    {TileId::kWgmma128x128, 128, 128, 1, 7.79, 7.79, 4.3},
    {TileId::kWgmma128x160, 128, 160, 1, 9.00, 9.00, 5.2},
    {TileId::kWgmma128x256, 128, 256, 1, 11.6, 11.6, 9.3}};

// Estimated microseconds of m x n x k in tiles of the given shape. Blocks go to the SMs in turn; none is
// faster than the memory that operands come from.
constexpr double tile_microseconds(const TileShape& tile, int m, int n, int k, int sm_count) {
  constexpr double kBytesPerMicrosecond = 4.2e6;
  const std::int64_t tiles = std::int64_t((m + tile.m - 1) / tile.m) * ((n + tile.n - 1) / tile.n);
  const std::int64_t tiles_of_sm = (tiles + sm_count - 1) / sm_count;
  const std::int64_t rounds = (tiles_of_sm + tile.per_sm - 1) / tile.per_sm;
  const double multiply =
      1e-3 * k * std::max(double(tiles_of_sm) * tile.shared, double(rounds) * tile.alone);
  const double read = 2.0 * (double(m) + n) * k / kBytesPerMicrosecond;
  return std::max(multiply, read) + double(rounds) * tile.overhead;
}

// The shape with the lowest estimate, of equals the smaller, among those that are more than half full of
// rows: the others burn power on zeros where they win at all.
constexpr TileId select_tile(int m, int n, int k, int sm_count, bool wgmma) {
  TileShape best = kTileShapes[0];
  for (const TileShape& tile : kTileShapes) {
    if (tile.m > 16 && m <= tile.m / 2) continue;
    if (uses_wgmma(tile.id) && !wgmma) continue;
    if (tile_microseconds(tile, m, n, k, sm_count) < tile_microseconds(best, m, n, k, sm_count)) {
      best = tile;
    }
  }
  return best.id;
}

}  // namespace komt::kernels
