// What happens to a finished float32 result: the last step shared by all matrix kernels.
//
// Kernels hand over kWidth neighbouring columns of one row (8 from the tensor-core kernel's staging
// buffer, 2 from a warp of the one-row kernel). "Column" is the position in the kernel's tiles; for
// rope_append it isn't the weight's row: see weight_row().
#pragma once

#include "common/element.cuh"
#include "common/kv_page.h"
#include "gemm/epilogue.h"

namespace komt::kernels {

// The weight row that is computed as column `column`. The two halves of a rotary pair, D/2 rows
// apart, become neighbours, so that one thread holds both: columns 2d and 2d+1 of a query or key
// head are its rows d and d + D/2. Columns of values and of the other epilogues are the weight's
// rows.
__device__ __forceinline__ int weight_row(const EpilogueParams& p, int column) {
  if (p.kind != LinearEpilogue::rope_append) return column;
  const int head_dim = p.rope.head_dim;
  const int head = column / head_dim;
  if (head >= p.rope.num_heads + p.rope.num_kv_heads) return column;
  const int j = column - head * head_dim;
  return head * head_dim + j / 2 + (j % 2) * (head_dim / 2);
}

namespace epilogue_detail {

// kCount elements at an address aligned to all of them together.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount <= 16 ? sizeof(T) * kCount : 16) Pack {
  T values[kCount];
};

template <class T, int kCount>
__device__ __forceinline__ void store_pack(T* p, const float (&y)[kCount]) {
  Pack<T, kCount> pack;
#pragma unroll
  for (int i = 0; i < kCount; ++i) pack.values[i] = from_float<T>(y[i]);
  *reinterpret_cast<Pack<T, kCount>*>(p) = pack;
}

// Rows of n elements are as aligned as n is divisible.
template <class T, int kCount>
__device__ __forceinline__ void store_row(T* row, int column, int n, const float (&y)[kCount]) {
  if (n % kCount == 0) {
    store_pack(row + column, y);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (column + i < n) row[column + i] = from_float<T>(y[i]);
    }
  }
}

template <int kCount>
__device__ __forceinline__ void add_to_row(float* row, int column, int n,
                                           const float (&y)[kCount]) {
  if (n % kCount == 0) {
    auto* at = reinterpret_cast<Pack<float, kCount>*>(row + column);
    Pack<float, kCount> sum = *at;
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum.values[i] += y[i];
    *at = sum;
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (column + i < n) row[column + i] += y[i];
    }
  }
}

__device__ __forceinline__ float silu(float x) { return __fdividef(x, 1.0f + __expf(-x)); }

// Element (row, head, 0) of the paged cache, head counted among the key/value heads.
template <class T>
__device__ __forceinline__ T* cache_row(void* cache, const RopeAppend& r, int row, int head) {
  const int position = r.positions[row];
  const int block =
      r.block_table[r.sequence_ids[row] * r.block_table_stride + position / kPageTokens];
  const std::int64_t at =
      (std::int64_t(block) * r.num_kv_heads + head) * kPageTokens + position % kPageTokens;
  return static_cast<T*>(cache) + at * r.head_dim;
}

// head_dim is a multiple of 8, so kWidth columns belong to one head and one of q, k, v.
template <class T, int kWidth>
__device__ __forceinline__ void rope_append(const EpilogueParams& p, int row, int column,
                                            const float (&y)[kWidth]) {
  const RopeAppend& r = p.rope;
  const int head = column / r.head_dim;
  const int j = column - head * r.head_dim;
  const int key_head = head - r.num_heads;
  const int value_head = key_head - r.num_kv_heads;
  if (value_head >= 0) {
    store_pack(cache_row<T>(r.values, r, row, value_head) + j, y);
    return;
  }
  constexpr int kPairs = kWidth / 2;
  const int half_dim = r.head_dim / 2;
  const int d = j / 2;
  const std::int64_t table = std::int64_t(r.rope_rows[row]) * half_dim + d;
  const auto cos = *reinterpret_cast<const Pack<float, kPairs>*>(r.cos + table);
  const auto sin = *reinterpret_cast<const Pack<float, kPairs>*>(r.sin + table);
  float low[kPairs];
  float high[kPairs];
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    low[i] = y[2 * i] * cos.values[i] - y[2 * i + 1] * sin.values[i];
    high[i] = y[2 * i + 1] * cos.values[i] + y[2 * i] * sin.values[i];
  }
  T* to = key_head < 0
              ? static_cast<T*>(p.output) + (std::int64_t(row) * r.num_heads + head) * r.head_dim
              : cache_row<T>(r.keys, r, row, key_head);
  store_pack(to + d, low);
  store_pack(to + d + half_dim, high);
}

}  // namespace epilogue_detail

// Columns [column, column + kWidth) of `row`, both inside the result except that columns from n on
// are ignored. T is the activation type.
template <class T, int kWidth>
__device__ __forceinline__ void apply_epilogue(const EpilogueParams& p, int row, int column,
                                               float (&y)[kWidth]) {
  if (p.bias != nullptr) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) {
      if (column + i < p.n) y[i] += p.bias[weight_row(p, column + i)];
    }
  }
  switch (p.kind) {
    case LinearEpilogue::store:
      if (p.float_output) {
        epilogue_detail::store_row(static_cast<float*>(p.output) + std::int64_t(row) * p.n, column,
                                   p.n, y);
      } else {
        epilogue_detail::store_row(static_cast<T*>(p.output) + std::int64_t(row) * p.n, column, p.n,
                                   y);
      }
      break;
    case LinearEpilogue::residual_add:
      epilogue_detail::add_to_row(static_cast<float*>(p.output) + std::int64_t(row) * p.n, column,
                                  p.n, y);
      break;
    case LinearEpilogue::silu_gate: {
      float gated[kWidth / 2];
#pragma unroll
      for (int i = 0; i < kWidth / 2; ++i)
        gated[i] = epilogue_detail::silu(y[2 * i]) * y[2 * i + 1];
      epilogue_detail::store_row(static_cast<T*>(p.output) + std::int64_t(row) * (p.n / 2),
                                 column / 2, p.n / 2, gated);
      break;
    }
    case LinearEpilogue::rope_append: epilogue_detail::rope_append<T>(p, row, column, y); break;
  }
}

}  // namespace komt::kernels
