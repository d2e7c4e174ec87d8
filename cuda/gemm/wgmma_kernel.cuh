// C[M, N] = A[M, K] W[N, K]^T on the tensor cores of sm_90a: wgmma, cp.async pipeline.
//
// Operands come into shared memory as for gemm_kernel.cuh, but in rows of 64 elements, where the place of
// the 16-byte chunk c of row r, c ^ (r % 8), is the 128-byte swizzle that wgmma reads. A warpgroup
// multiplies its 64 rows by all of the tile's columns, both operands from shared memory. Products of a
// stage are still at work while the block meets for the next one and refills the one before: the tensor
// cores wait for nobody as long as loads come in two stages' time.
//
// An element's order is k ascending in steps of 16 in one accumulator, as in the other kernel.
//
// Bytes and FLOPs: gemm_kernel.cuh. A block of 128x256 brings 48 KiB into shared memory for 4.2 MFLOP, and
// wgmma reads 80 KiB of it: 128 bytes a cycle at the tensor cores' full rate, which is all there is. What a
// H200 took for 13B's gate+up and 2048 rows, microseconds: 955 (607 TFLOP/s; cuBLAS 933); without the
// products 616, without the loads 814, without the barrier as well 763. Copies between the products
// instead of behind them were worth a fifth: a warp is held up at a product until those before have begun.
// Left: warps of their own for the copies, and the bulk copy engine with multicast to a cluster, which
// would halve what comes from L2. cp.async needs neither descriptors of tensors nor a barrier that counts
// bytes, gathers the rows of rotary pairs, and fills ragged edges with zeros.
#pragma once

#include <type_traits>

#include "common/launch.cuh"
#include "gemm/gemm.h"
#include "gemm/operand.cuh"
#include "gemm/results.cuh"
#include "ptx/cp_async.cuh"
#include "ptx/grid_dependency.cuh"
#include "ptx/wgmma.cuh"

namespace komt::kernels {

// Empty where it was compiled for anything but sm_90a; see wgmma_available().
template <class T, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocksPerSm)
    wgmma_kernel(const GemmParams p) {
#if defined(KOMT_CUDA_EMULATED) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using namespace gemm_detail;
  constexpr int kSteps = Tile::kBlockK / 16;
  constexpr int kStages = Tile::kStages;
  constexpr int kAhead = kStages - 2;  // one stage is read, another may still be
  constexpr int kSlice = Tile::kBlockN % 64 == 0 ? 64 : 32;  // columns written at a time
  KOMT_DYN_SHARED(shared);
  T* const stages = reinterpret_cast<T*>(shared);

  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const TileCoordinates tile = tile_of_block(static_cast<int>(blockIdx.x), p.tiles_m, p.tiles_n);
  const int first_row = tile.m * Tile::kBlockM;
  const int first_column = tile.n * Tile::kBlockN;
  const int k_tiles = (p.k + Tile::kBlockK - 1) / Tile::kBlockK;

  const OperandLoader<T, Tile::kBlockM, Tile> load_a(
      p.a, p.k, p.m - first_row, [&](int i) { return first_row + i; });
  const OperandLoader<T, Tile::kBlockN, Tile> load_b(
      p.b, p.k, p.n - first_column,
      [&](int i) { return weight_row(p.epilogue, first_column + i); });

  fill_pipeline<kAhead, Tile>(stages, k_tiles, load_a, load_b);

  float sums[Tile::kBlockN / 8][4];
  int stage = 0;        // being read
  int refill = kAhead;  // read by everyone two stages ago
  const auto multiply_k_tile = [&](int t, auto whole) {
    ptx::cp_async_wait<kAhead - 1>();
    ptx::fence_proxy_async();
    __syncthreads();
    const T* const a = stages + stage * Tile::kStageElements;
    const std::uint64_t a_operand = ptx::wgmma_operand(a + warp / 4 * 64 * Tile::kBlockK);
    const std::uint64_t b_operand = ptx::wgmma_operand(a + Tile::kBlockM * Tile::kBlockK);
    T* const target_a = stages + refill * Tile::kStageElements;
    T* const target_b = target_a + Tile::kBlockM * Tile::kBlockK;
    const auto multiply = [&](auto part) {
      constexpr int kStep = decltype(part)::value;
      ptx::wgmma_m64k16<T, Tile::kBlockN>(sums, a_operand + 2 * kStep, b_operand + 2 * kStep,
                                          t > 0 || kStep > 0);
      // A warp is held up at a product while others are before it: the copies go in between.
      if constexpr (decltype(whole)::value) {
        load_a.template load_whole<kStep, kSteps>(target_a, t + kAhead);
        load_b.template load_whole<kStep, kSteps>(target_b, t + kAhead);
      }
    };
    static_assert(kSteps == 4);
    ptx::wgmma_fence();
    multiply(std::integral_constant<int, 0>{});
    multiply(std::integral_constant<int, 1>{});
    multiply(std::integral_constant<int, 2>{});
    multiply(std::integral_constant<int, 3>{});
    ptx::wgmma_commit();
    if (!decltype(whole)::value && t + kAhead < k_tiles) {
      load_a.load(target_a, t + kAhead);
      load_b.load(target_b, t + kAhead);
    }
    ptx::cp_async_commit();
    stage = stage + 1 == kStages ? 0 : stage + 1;
    refill = refill + 1 == kStages ? 0 : refill + 1;
    // The stage before this one has been read: after the next barrier by everyone.
    ptx::wgmma_wait<1>();
  };
  const int steady = min(load_a.whole_k_tiles(), load_b.whole_k_tiles()) - kAhead;
  int t = 0;
#pragma unroll 1
  for (; t < steady; ++t) multiply_k_tile(t, std::true_type{});
#pragma unroll 1
  for (; t < k_tiles; ++t) multiply_k_tile(t, std::false_type{});
  ptx::wgmma_wait<0>();

  ptx::grid_dependency_launch();
  ptx::cp_async_wait<0>();
  __syncthreads();  // the stages become the staging buffer
  using Place = Staging<kSlice>;
  static_assert(Place::kFloatsPerWarp * 4 * (Tile::kThreads / 32) <= Tile::kSharedBytes);
  float* const staging = reinterpret_cast<float*>(shared) + warp * Place::kFloatsPerWarp;
#pragma unroll
  for (int slice = 0; slice < Tile::kBlockN / kSlice; ++slice) {
    write_16_rows<T, kSlice>(p.epilogue, staging, first_row + 16 * warp,
                             first_column + slice * kSlice, lane, sums + slice * kSlice / 8);
  }
#endif
}

template <class T>
cudaError_t launch_wgmma(TileId tile, const GemmParams& params, bool overlap, cudaStream_t stream) {
  const auto in = [&](auto shape) {
    using Tile = decltype(shape);
    return launch_in_tiles<Tile>(wgmma_kernel<T, Tile>, params, overlap, stream);
  };
  switch (tile) {
    case TileId::kWgmma64x64: return in(Wgmma64x64{});
    case TileId::kWgmma64x128: return in(Wgmma64x128{});
    case TileId::kWgmma128x128: return in(Wgmma128x128{});
    case TileId::kWgmma128x160: return in(Wgmma128x160{});
    case TileId::kWgmma128x256: return in(Wgmma128x256{});
    default: return cudaErrorInvalidValue;
  }
}

}  // namespace komt::kernels
