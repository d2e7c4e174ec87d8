#pragma once

#include "common/element_type.h"
#include "common/platform.cuh"

namespace komt::kernels {

/// Rotary embedding of queries and keys, half-split as in Hugging Face's Llama: element i < head_dim/2
/// and its partner i + head_dim/2 become (x1 c - x2 s, x2 c + x1 s). Queries go to `query`, rotated
/// keys and plain values into the paged cache [pages, num_kv_heads, 64, head_dim]. Computed in float32,
/// rounded once.
struct RopeAppendArgs {
  const void* qkv = nullptr;  ///< [tokens, (num_heads + 2 num_kv_heads) * head_dim], q | k | v heads
  ElementType qkv_type = ElementType::f16;  ///< f32, or the same as `type`
  ElementType type = ElementType::f16;      ///< of query, keys and values: f16 or bf16
  void* query = nullptr;                    ///< [tokens, num_heads * head_dim]
  void* keys = nullptr;                     ///< the layer's cache
  void* values = nullptr;
  const float* cos = nullptr;                  ///< [table rows, head_dim / 2], scaling folded in
  const float* sin = nullptr;
  const std::int32_t* rope_rows = nullptr;     ///< [tokens] row of the tables
  const std::int32_t* positions = nullptr;     ///< [tokens] index in the sequence's cache
  const std::int32_t* sequence_ids = nullptr;  ///< [tokens] row of the block table
  const std::int32_t* block_table = nullptr;   ///< [sequences, block_table_stride] pages in order
  int block_table_stride = 0;
  int num_tokens = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;  ///< a multiple of 4
};

/// cudaErrorInvalidValue for types or a head_dim other than said, or counts that make no sense.
cudaError_t rope_append(const RopeAppendArgs& args, cudaStream_t stream);

}  // namespace komt::kernels
