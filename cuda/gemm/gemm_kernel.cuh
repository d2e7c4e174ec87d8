// C[M, N] = A[M, K] W[N, K]^T on the tensor cores of sm_80 and later: mma.sync, cp.async pipeline.
//
// Both operands are K-major in memory, so both go through the same path: cp.async brings 16-byte
// chunks (8 elements of k) into shared memory, where chunk c of row r lies at chunk c ^ key(r), so
// that the 8 rows of every ldmatrix fall into different banks; ldmatrix makes fragments of them,
// one step of 16 along k ahead of the mma that uses them. Stages are refilled as soon as the block
// has read them: one barrier a stage.
//
// The accumulation order of an element is k ascending in steps of 16 in one accumulator, whatever
// the tile: see linear.h on determinism.
//
// Bytes and FLOPs. 2 M N K FLOPs; at least 2 (M K + N K) bytes in and the output once. Roofline on
// an H200 (4.3 TB/s, 788 TFLOP/s measured), microseconds for M = 16 (bytes) and M = 2048 (FLOPs):
//            7B: n x k       M=16   M=2048 |        13B: n x k      M=16   M=2048
//   QKV      12288 x 4096    23.4    262   |        15360 x 5120    36.6    409
//   O         4096 x 4096     7.8     87   |         5120 x 5120    12.2    136
//   gate+up  22016 x 4096    41.9    469   |        27648 x 5120    65.8    736
//   down      4096 x 11008   21.0    234   |         5120 x 13824   32.9    368
//   lm_head  32000 x 4096    61.0    681   |        32000 x 5120    76.2    852
// How the design gets there: wide tiles read 2 (1/128 + 1/256) bytes of L2 a multiplication, so L2
// is below its limit at mma.sync's rate, which itself is 63 to 65% of what wgmma reaches (stage 1
// of the plan asks for 0.55 of cuBLAS). Narrow tiles keep 24 to 48 KiB of weights in flight per
// block (27 KiB per SM are needed to cover HBM's latency) and two blocks fit an SM of sm_80, 90 and
// 100; each weight is read once for all rows. Between 17 and 64 rows the activations, read again by
// every tile of columns, cost as much L2 bandwidth as the weights: the tile is as wide as the
// number of SMs allows. Registers and shared memory of each tile are in cuda/resources.json.
#pragma once

#include "common/launch.cuh"
#include "gemm/gemm.h"
#include "gemm/operand.cuh"
#include "gemm/results.cuh"
#include "ptx/grid_dependency.cuh"
#include "ptx/ldmatrix.cuh"
#include "ptx/mma.cuh"

namespace komt::kernels {

namespace gemm_detail {

// The fragments of one warp for one step of 16 along k.
template <class Tile>
struct Fragments {
  static constexpr int kM = Tile::kWarpM / 16;
  static constexpr int kN = Tile::kWarpN / 8;
  std::uint32_t a[kM][4];
  std::uint32_t b[kN][2];
};

template <class T, class Tile>
class FragmentReader {
 public:
  __device__ __forceinline__ FragmentReader(int warp_m, int warp_n, int lane) {
    constexpr int kPairOfTiles = Tile::kWarpN > 8 ? 1 : 0;
    const int row_a = lane % 16;
    const int row_b = lane % 8 + (lane / 16 * 8) * kPairOfTiles;
    chunk_a_ = lane / 16;
    chunk_b_ = lane / 8 % 2;
    key_a_ = swizzle_key<Tile::kBlockK>(row_a);
    key_b_ = swizzle_key<Tile::kBlockK>(row_b);
    row_a_ = (warp_m * Tile::kWarpM + row_a) * Tile::kBlockK;
    row_b_ = (Tile::kBlockM + warp_n * Tile::kWarpN + row_b) * Tile::kBlockK;
  }

  __device__ __forceinline__ void read(Fragments<Tile>& f, const T* stage, int step) const {
    const T* a = stage + row_a_ + ((2 * step + chunk_a_) ^ key_a_) * kChunk;
    const T* b = stage + row_b_ + ((2 * step + chunk_b_) ^ key_b_) * kChunk;
#pragma unroll
    for (int i = 0; i < Fragments<Tile>::kM; ++i) {
      ptx::ldmatrix_x4(f.a[i], a + i * 16 * Tile::kBlockK);
    }
    if constexpr (Fragments<Tile>::kN == 1) {
      ptx::ldmatrix_x2(f.b[0], b);
    } else {
#pragma unroll
      for (int j = 0; j < Fragments<Tile>::kN; j += 2) {
        std::uint32_t pair[4];
        ptx::ldmatrix_x4(pair, b + j * 8 * Tile::kBlockK);
        f.b[j][0] = pair[0];
        f.b[j][1] = pair[1];
        f.b[j + 1][0] = pair[2];
        f.b[j + 1][1] = pair[3];
      }
    }
  }

 private:
  int row_a_, row_b_, chunk_a_, chunk_b_, key_a_, key_b_;
};

}  // namespace gemm_detail

template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads) gemm_kernel(const GemmParams p) {
  using namespace gemm_detail;
  constexpr int kSteps = Tile::kBlockK / 16;
  constexpr int kStages = Tile::kStages;
  constexpr int kM = Fragments<Tile>::kM;
  constexpr int kN = Fragments<Tile>::kN;
  KOMT_DYN_SHARED(shared);
  T* const stages = reinterpret_cast<T*>(shared);

  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp_m = warp % Tile::kWarpsM;
  const int warp_n = warp / Tile::kWarpsM;
  const TileCoordinates tile = tile_of_block(static_cast<int>(blockIdx.x), p.tiles_m, p.tiles_n);
  const int first_row = tile.m * Tile::kBlockM;
  const int first_column = tile.n * Tile::kBlockN;
  const int k_tiles = (p.k + Tile::kBlockK - 1) / Tile::kBlockK;

  const OperandLoader<T, Tile::kBlockM, Tile> load_a(
      p.a, p.k, p.m - first_row, [&](int i) { return first_row + i; });
  const OperandLoader<T, Tile::kBlockN, Tile> load_b(
      p.b, p.k, p.n - first_column,
      [&](int i) { return weight_row(p.epilogue, first_column + i); });
  const FragmentReader<T, Tile> reader(warp_m, warp_n, lane);

  fill_pipeline<kStages - 1, Tile>(stages, k_tiles, load_a, load_b);

  float sums[kM][kN][4];
#pragma unroll
  for (int i = 0; i < kM; ++i) {
#pragma unroll
    for (int j = 0; j < kN; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sums[i][j][e] = 0.0f;
    }
  }

  Fragments<Tile> fragments[2];
  ptx::cp_async_wait<kStages - 2>();
  __syncthreads();
  reader.read(fragments[0], stages, 0);

  int stage = 0;             // being read
  int refill = kStages - 1;  // read by everyone, to be loaded next
  for (int t = 0; t < k_tiles; ++t) {
    T* const current = stages + stage * Tile::kStageElements;
    stage = stage + 1 == kStages ? 0 : stage + 1;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      if (step + 1 < kSteps) {
        reader.read(fragments[(step + 1) % 2], current, step + 1);
      } else if (t + 1 < k_tiles) {
        ptx::cp_async_wait<kStages - 2>();
        __syncthreads();
        reader.read(fragments[0], stages + stage * Tile::kStageElements, 0);
      }
      if (step == 0) {
        if (t + kStages - 1 < k_tiles) {
          T* const target = stages + refill * Tile::kStageElements;
          load_a.load(target, t + kStages - 1);
          load_b.load(target + Tile::kBlockM * Tile::kBlockK, t + kStages - 1);
        }
        ptx::cp_async_commit();
        refill = refill + 1 == kStages ? 0 : refill + 1;
      }
      const Fragments<Tile>& f = fragments[step % 2];
#pragma unroll
      for (int i = 0; i < kM; ++i) {
#pragma unroll
        for (int j = 0; j < kN; ++j) ptx::mma_m16n8k16<T>(sums[i][j], f.a[i], f.b[j]);
      }
    }
  }

  ptx::grid_dependency_launch();
  ptx::cp_async_wait<0>();
  __syncthreads();  // the stages become the staging buffer
  using Place = Staging<Tile::kWarpN>;
  static_assert(Place::kFloatsPerWarp * 4 * (Tile::kThreads / 32) <= Tile::kSharedBytes);
  float* const staging = reinterpret_cast<float*>(shared) + warp * Place::kFloatsPerWarp;
#pragma unroll
  for (int i = 0; i < kM; ++i) {
    write_16_rows<T, Tile::kWarpN>(p.epilogue, staging, first_row + warp_m * Tile::kWarpM + 16 * i,
                                   first_column + warp_n * Tile::kWarpN, lane, sums[i]);
  }
}

template <class T>
cudaError_t launch_gemm(TileId tile, const GemmParams& params, bool overlap, cudaStream_t stream) {
  const auto in = [&](auto shape) {
    using Tile = decltype(shape);
    return launch_in_tiles<Tile>(gemm_kernel<T, Tile>, params, overlap, stream);
  };
  switch (tile) {
    case TileId::k16x32: return in(Tile16x32{});
    case TileId::k16x64: return in(Tile16x64{});
    case TileId::k32x64: return in(Tile32x64{});
    case TileId::k64x64: return in(Tile64x64{});
    case TileId::k64x128: return in(Tile64x128{});
    case TileId::k128x128: return in(Tile128x128{});
    case TileId::k128x256: return in(Tile128x256{});
    default: break;
  }
  return cudaErrorInvalidValue;
}

}  // namespace komt::kernels
