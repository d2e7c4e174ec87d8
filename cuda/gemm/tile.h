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

enum class TileId : std::uint8_t { k16x32, k16x64, k32x64, k64x64, k64x128, k128x128, k128x256 };

struct TileShape {
  TileId id;
  int m;
  int n;
};
inline constexpr TileShape kTileShapes[] = {
    {TileId::k16x32, 16, 32},    {TileId::k16x64, 16, 64},   {TileId::k32x64, 32, 64},
    {TileId::k64x64, 64, 64},    {TileId::k64x128, 64, 128}, {TileId::k128x128, 128, 128},
    {TileId::k128x256, 128, 256}};

// Estimated cycles of an SM for m x n x k in tiles of the given shape. Blocks go to the SMs in
// turn, and an SM needs for a step of one along k the longer of
//   - its multiplications, at mma.sync's rate (63% of the tensor cores' 2048 a cycle on an H100),
//   - its loads, two bytes for every row and column there is, at an SM's share of the L2 bandwidth
//     (5.5 TB/s over 132 SMs at 1.755 GHz),
// plus what a block spends on filling its pipeline and on its epilogue. HBM's share is the same for
// all shapes and is left out. On an A100 both rates are lower by about the same factor.
constexpr double tile_cycles(const TileShape& tile, int m, int n, int k, int sm_count) {
  constexpr double kMultipliesPerCycle = 0.63 * 2048;
  constexpr double kBytesPerCycle = 5.5e12 / (132 * 1.755e9);
  constexpr double kBlockOverheadCycles = 2000;
  const std::int64_t tiles = std::int64_t((m + tile.m - 1) / tile.m) * ((n + tile.n - 1) / tile.n);
  const std::int64_t tiles_per_sm = (tiles + sm_count - 1) / sm_count;
  const double multiply = double(tile.m) * tile.n / kMultipliesPerCycle;
  const double load = 2.0 * (std::min(m, tile.m) + std::min(n, tile.n)) / kBytesPerCycle;
  return double(tiles_per_sm) * (std::max(multiply, load) * k + kBlockOverheadCycles);
}

// The shape with the lowest estimate, of equals the smaller, among those that are at least half
// full of rows: the others burn power on zeros where they win at all.
constexpr TileId select_tile(int m, int n, int k, int sm_count) {
  TileShape best = kTileShapes[0];
  for (const TileShape& tile : kTileShapes) {
    if (tile.m > 16 && m <= tile.m / 2) continue;
    if (tile_cycles(tile, m, n, k, sm_count) < tile_cycles(best, m, n, k, sm_count)) best = tile;
  }
  return best.id;
}

}  // namespace komt::kernels
