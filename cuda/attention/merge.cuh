// How partial results of the decode kernel become one: those of a block's warps in shared memory, and
// those of a tile's blocks in global memory, by whichever of them ends last.
//
// Both go over [heads][head_dim / 4] groups of four columns, one to a thread. The block that ends last
// reads 4 * head_dim bytes for each part and head out of L2, 64 KiB at most but for the longest contexts
// (split.h). What that costs is latency: its warps take the parts in turn, each with 8 of a lane's groups
// and their statistics requested before the first is waited for, and are then merged as they were before.
//
// Sums have a fixed order: a warp's parts ascending, then the warps ascending.
#pragma once

#include "attention/split.h"
#include "common/element.cuh"
#include "common/vector_io.cuh"
#include "ptx/math.cuh"

namespace komt::kernels {

// A partial result of one query head: [num_sequences * num_heads, max_splits] of head_dim floats of
// output relative to `maximum`, then as many pairs of (maximum, sum).
struct Partials {
  float* outputs;
  float2* statistics;
  int max_splits;

  // The first part of a query head.
  __device__ __forceinline__ std::size_t first(const Place& place, int num_heads, int row) const {
    return (static_cast<std::size_t>(place.sequence) * num_heads + place.first_head + row) *
           max_splits;
  }
};

// What the warps of a block hand each other, in shared memory: [warps][16] rows. Rows of output are
// padded, so that the eight that a warp stores at once lie in different banks.
template <int kDim>
struct SharedResult {
  static constexpr int kStride = kDim + 8;
  static constexpr int bytes(int warps) { return warps * kDecodeQueryRows * kStride * 4; }

  float* output;
  float* maximum;
  float* sum;

  __device__ __forceinline__ float* output_at(int warp, int row) const {
    return output + (warp * kDecodeQueryRows + row) * kStride;
  }
};

// exp2(a - b) for a <= b, 0 where a is -infinity (a part without any key).
__device__ __forceinline__ float weight_of(float a, float b) {
  return a == -INFINITY ? 0.0f : ptx::exp2_approx(a - b);
}

// The warps' results in ascending order: to `output`, the token's row of all heads, if that is all there
// is of them, else to the block's part.
template <class T, int kDim, int kWarps>
__device__ __forceinline__ void combine_warps(const SharedResult<kDim>& result, const Place& place,
                                              const Partials& partials, int num_heads, int head_dim,
                                              bool complete, T* output) {
  const int groups = head_dim / 4;
  for (int index = threadIdx.x; index < place.heads * groups; index += kWarps * 32) {
    const int row = index / groups;
    const int column = index % groups * 4;
    float maximum = -INFINITY;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      maximum = fmaxf(maximum, result.maximum[warp * kDecodeQueryRows + row]);
    }
    float sum = 0;
    Vector128<float> total{};
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      const int at = warp * kDecodeQueryRows + row;
      const float weight = weight_of(result.maximum[at], maximum);
      const Vector128<float> x = load128(result.output_at(warp, row) + column);
      sum = fmaf(result.sum[at], weight, sum);
#pragma unroll
      for (int j = 0; j < 4; ++j) total[j] = fmaf(x[j], weight, total[j]);
    }
    if (complete) {
      T* to = output + (place.first_head + row) * head_dim + column;
      *reinterpret_cast<uint2*>(to) =
          make_uint2(pair_bits(from_float2<T>(total[0] / sum, total[1] / sum)),
                     pair_bits(from_float2<T>(total[2] / sum, total[3] / sum)));
    } else {
      const std::size_t part = partials.first(place, num_heads, row) + place.split;
      store128(partials.outputs + part * head_dim + column, total);
      if (column == 0) partials.statistics[part] = make_float2(maximum, sum);
    }
  }
}

// Every kWarps-th part of all splits as this warp's result; what is there before is no longer needed.
template <int kDim, int kWarps>
__device__ __forceinline__ void gather_splits(const SharedResult<kDim>& result, const Place& place,
                                              const Partials& partials, int num_heads, int head_dim,
                                              int warp, int lane) {
  constexpr int kGroups = 2;  // of columns and
  constexpr int kParts = 4;   // parts of each that are loaded together
  const int groups = head_dim / 4;
#pragma unroll 1
  for (int index = lane; index < place.heads * groups; index += 32 * kGroups) {
    float maximum[kGroups];
    float sum[kGroups] = {};
    Vector128<float> total[kGroups] = {};
#pragma unroll
    for (int g = 0; g < kGroups; ++g) maximum[g] = -INFINITY;
#pragma unroll 1
    for (int split = warp; split < place.splits; split += kWarps * kParts) {
      float2 statistics[kGroups][kParts];
      Vector128<float> outputs[kGroups][kParts];
#pragma unroll
      for (int g = 0; g < kGroups; ++g) {
        const int row = (index + 32 * g) / groups;
        const int column = (index + 32 * g) % groups * 4;
        const std::size_t first = partials.first(place, num_heads, row) + split;
#pragma unroll
        for (int i = 0; i < kParts; ++i) {
          const std::size_t part = first + i * kWarps;
          const bool valid = row < place.heads && split + i * kWarps < place.splits;
          statistics[g][i] = valid ? partials.statistics[part] : make_float2(-INFINITY, 0.0f);
          outputs[g][i] =
              valid ? load128(partials.outputs + part * head_dim + column) : Vector128<float>{};
        }
      }
#pragma unroll
      for (int g = 0; g < kGroups; ++g) {
        float top = maximum[g];
#pragma unroll
        for (int i = 0; i < kParts; ++i) top = fmaxf(top, statistics[g][i].x);
        const float rescale = weight_of(maximum[g], top);
        sum[g] *= rescale;
#pragma unroll
        for (int j = 0; j < 4; ++j) total[g][j] *= rescale;
#pragma unroll
        for (int i = 0; i < kParts; ++i) {
          const float weight = weight_of(statistics[g][i].x, top);
          sum[g] = fmaf(statistics[g][i].y, weight, sum[g]);
#pragma unroll
          for (int j = 0; j < 4; ++j) total[g][j] = fmaf(outputs[g][i][j], weight, total[g][j]);
        }
        maximum[g] = top;
      }
    }
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      const int row = (index + 32 * g) / groups;
      const int column = (index + 32 * g) % groups * 4;
      if (row >= place.heads) continue;
      store128(result.output_at(warp, row) + column, total[g]);
      if (column == 0) {
        result.maximum[warp * kDecodeQueryRows + row] = maximum[g];
        result.sum[warp * kDecodeQueryRows + row] = sum[g];
      }
    }
  }
}

}  // namespace komt::kernels
