// What the tensor-core kernels share: how operands come into shared memory, which tile a block computes,
// and their launch.
#pragma once

#include "common/launch.cuh"
#include "gemm/epilogue.cuh"
#include "gemm/gemm.h"
#include "ptx/cp_async.cuh"
#include "ptx/grid_dependency.cuh"

namespace komt::kernels {

namespace gemm_detail {

inline constexpr int kChunk = 8;  // elements in 16 bytes

// Rows of 64 bytes share a line of banks in twos, wider rows have one (or more) of their own.
template <int kBlockK>
__device__ __forceinline__ int swizzle_key(int row) {
  if constexpr (kBlockK == 32) return (row >> 1) & 3;
  return row & 7;
}

// One thread's part in copying kRows rows of an operand, kBlockK columns at a time.
template <class T, int kRows, class Tile>
class OperandLoader {
  static constexpr int kChunksPerRow = Tile::kBlockK / kChunk;
  static constexpr int kRowsPerPass = Tile::kThreads / kChunksPerRow;
  static constexpr int kPasses = (kRows + kRowsPerPass - 1) / kRowsPerPass;
  static_assert(kPasses >= 1);
  static_assert(kRowsPerPass % 8 == 0, "all passes share one swizzle key");

 public:
  // The tile's first `rows` rows are there, zeros stand for the others; row_of(i) is the operand's row
  // for row i of the tile.
  template <class RowOf>
  __device__ __forceinline__ OperandLoader(const void* operand, int k, int rows, RowOf row_of)
      : base_(static_cast<const T*>(operand)), chunks_(k / kChunk), rows_(rows) {
    row_ = static_cast<int>(threadIdx.x) / kChunksPerRow;
    const int chunk = static_cast<int>(threadIdx.x) % kChunksPerRow;
    target_ = row_ * Tile::kBlockK + (chunk ^ swizzle_key<Tile::kBlockK>(row_)) * kChunk;
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int row = row_ + pass * kRowsPerPass;
      const int source = row < rows ? row_of(row) : 0;
      first_chunk_[pass] =
          static_cast<std::uint32_t>(source) * static_cast<std::uint32_t>(chunks_) +
          static_cast<std::uint32_t>(chunk);
    }
  }

  // Leading k tiles of which load_whole() may be used.
  __device__ __forceinline__ int whole_k_tiles() const {
    return rows_ >= kRows ? chunks_ / kChunksPerRow : 0;
  }

  // Two instructions a copy and no branch. Of kParts calls that together load a tile, number kPart: for
  // callers with something to do in between.
  template <int kPart = 0, int kParts = 1>
  __device__ __forceinline__ void load_whole(T* stage, int k_tile) const {
    const T* const source = base_ + std::size_t(k_tile) * Tile::kBlockK;
#pragma unroll
    for (int pass = kPasses * kPart / kParts; pass < kPasses * (kPart + 1) / kParts; ++pass) {
      if (is_in_tile(pass)) {
        ptx::cp_async<16>(stage + target_ + pass * kRowsPerPass * Tile::kBlockK,
                          source + std::size_t(first_chunk_[pass]) * kChunk);
      }
    }
  }

  __device__ __forceinline__ void load(T* stage, int k_tile) const {
    if (k_tile < whole_k_tiles()) {
      load_whole(stage, k_tile);
      return;
    }
    const T* const source = base_ + std::size_t(k_tile) * Tile::kBlockK;
    const int chunk = static_cast<int>(threadIdx.x) % kChunksPerRow;
    const bool inside = k_tile * kChunksPerRow + chunk < chunks_;
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const bool read = inside && row_ + pass * kRowsPerPass < rows_;
      if (!is_in_tile(pass)) continue;
      ptx::cp_async_zfill<16>(stage + target_ + pass * kRowsPerPass * Tile::kBlockK,
                              read ? source + std::size_t(first_chunk_[pass]) * kChunk : base_,
                              read ? 16 : 0);
    }
  }

 private:
  // The last pass may be of fewer rows than there are threads for.
  __device__ __forceinline__ bool is_in_tile(int pass) const {
    return kRows % kRowsPerPass == 0 || row_ + pass * kRowsPerPass < kRows;
  }

  const T* base_;
  int chunks_;  // in a row of the operand
  int rows_;    // of the tile that the operand has; may be more than kRows
  int row_;
  int target_;
  // In chunks, to fit in 32 bits: operands of up to 2^35 elements.
  std::uint32_t first_chunk_[kPasses];
};

// Position in the grid of tiles. Eight tiles of M are visited for one tile of N before the next, so
// that the blocks that run together form a near square and share operands in L2.
struct TileCoordinates {
  int m;
  int n;
};
__device__ __forceinline__ TileCoordinates tile_of_block(int block, int tiles_m, int tiles_n) {
  constexpr int kGroup = 8;
  const int group = block / (kGroup * tiles_n);
  const int in_group = block - group * kGroup * tiles_n;
  const int first_m = group * kGroup;
  const int height = min(tiles_m - first_m, kGroup);
  return {first_m + in_group % height, in_group / height};
}

// The first kCount stages. Weights don't depend on the kernel in front of this one, activations do.
template <int kCount, class Tile, class T, class LoadA, class LoadB>
__device__ __forceinline__ void fill_pipeline(T* stages, int k_tiles, const LoadA& load_a,
                                              const LoadB& load_b) {
#pragma unroll
  for (int s = 0; s < kCount; ++s) {
    if (s < k_tiles) {
      load_b.load(stages + s * Tile::kStageElements + Tile::kBlockM * Tile::kBlockK, s);
    }
  }
  ptx::grid_dependency_wait();
#pragma unroll
  for (int s = 0; s < kCount; ++s) {
    if (s < k_tiles) load_a.load(stages + s * Tile::kStageElements, s);
    ptx::cp_async_commit();
  }
}

}  // namespace gemm_detail

// A kernel of one block for each tile.
template <class Tile>
cudaError_t launch_in_tiles(void (*kernel)(GemmParams), GemmParams params, bool overlap,
                            cudaStream_t stream) {
  params.tiles_m = (params.m + Tile::kBlockM - 1) / Tile::kBlockM;
  params.tiles_n = (params.n + Tile::kBlockN - 1) / Tile::kBlockN;
  return launch(kernel,
                LaunchConfig{.grid = dim3(static_cast<unsigned>(params.tiles_m) *
                                          static_cast<unsigned>(params.tiles_n)),
                             .block = dim3(Tile::kThreads),
                             .dynamic_shared_bytes = Tile::kSharedBytes,
                             .stream = stream,
                             .programmatic_dependent_launch = overlap},
                params);
}

}  // namespace komt::kernels
