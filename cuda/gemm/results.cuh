// How the tensor-core kernels write what they have computed.
#pragma once

#include "gemm/epilogue.cuh"

namespace komt::kernels {

namespace gemm_detail {

// A warp's results, 16 rows at a time through its own part of shared memory, so that a lane holds 8
// neighbouring columns and writes 16 bytes. Strides and the gap of 4 after 32 columns keep both
// directions free of bank conflicts.
template <int kColumns>
struct Staging {
  static constexpr int kStride = kColumns == 8 ? 8 : kColumns + 8;
  static constexpr int kFloatsPerWarp = 16 * kStride;
  static_assert(kColumns <= 64, "the gaps fit into a row's last 8 floats");
  static_assert(kStride % 16 == 8, "four rows of float2 must fall into different banks");

  __device__ __forceinline__ static int at(int row, int column) {
    return row * kStride + column + column / 32 * 4;
  }
};

// `sums` are kColumns / 8 fragments, side by side.
template <class T, int kColumns>
__device__ __forceinline__ void write_16_rows(const EpilogueParams& p, float* staging, int first_row,
                                              int first_column, int lane, const float (*sums)[4]) {
  using Place = Staging<kColumns>;
  constexpr int kUnitsPerRow = kColumns / 8;
#pragma unroll
  for (int j = 0; j < kColumns / 8; ++j) {
    const int column = j * 8 + lane % 4 * 2;
    *reinterpret_cast<float2*>(staging + Place::at(lane / 4, column)) =
        make_float2(sums[j][0], sums[j][1]);
    *reinterpret_cast<float2*>(staging + Place::at(lane / 4 + 8, column)) =
        make_float2(sums[j][2], sums[j][3]);
  }
  __syncwarp();
  for (int unit = lane; unit < 16 * kUnitsPerRow; unit += 32) {
    const int row = unit / kUnitsPerRow;
    const int column = unit % kUnitsPerRow * 8;
    if (first_row + row < p.rows && first_column + column < p.n) {
      const float* from = staging + Place::at(row, column);
      const float4 low = *reinterpret_cast<const float4*>(from);
      const float4 high = *reinterpret_cast<const float4*>(from + 4);
      float y[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
      apply_epilogue<T>(p, first_row + row, first_column + column, y);
    }
  }
  __syncwarp();
}

}  // namespace gemm_detail

}  // namespace komt::kernels
