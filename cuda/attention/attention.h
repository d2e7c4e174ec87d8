// Causal attention of a ragged batch's new tokens over their sequences' paged cache.
//
// Two kernels stand behind attention(): a sequence with two or more new tokens goes through the
// prefill kernel (prefill.cu), one with a single new token through the split-cache decode kernel
// (decode.cu), whatever else the batch holds; a mixed batch launches both, each passing over the
// other's sequences.
//
// Determinism. No atomics on floats; every sum has a fixed order. The bits of a query's result depend
// on its own sequence (length, window, one or several new tokens) and the shape of the heads: never
// on the batch, the pages it was given or the schedule. A prompt may be cut into chunks
// anywhere without changing a bit, as long as each chunk has two tokens or more.
#pragma once

#include "common/element_type.h"
#include "common/platform.cuh"

namespace komt::kernels {

/// Device pointers, 16-byte aligned, rows without gaps. A sequence's new tokens are its last ones:
/// token i of n stands at position kv_length - n + i.
struct AttentionArgs {
  ElementType type = ElementType::f16;  ///< of query, output and cache: f16 or bf16
  const void* query = nullptr;          ///< [tokens, num_heads * head_dim]
  void* output = nullptr;               ///< the same shape
  const void* keys = nullptr;           ///< [pages, num_kv_heads, 64, head_dim], the new tokens included
  const void* values = nullptr;
  const std::int32_t* cu_seqlens = nullptr;   ///< [num_sequences + 1] first new token of each sequence
  const std::int32_t* kv_lengths = nullptr;   ///< [num_sequences] cache length, new tokens included
  const std::int32_t* block_table = nullptr;  ///< [num_sequences, block_table_stride] pages in order
  int block_table_stride = 0;
  int num_sequences = 0;  ///< at most 65,535
  int max_new_tokens = 0;  ///< most new tokens of one sequence
  int max_kv_length = 0;   ///< a bound on kv_lengths; sizes the decode kernel's grid
  int num_heads = 0;
  int num_kv_heads = 0;  ///< divides num_heads
  int head_dim = 0;      ///< a multiple of 8, at most 256
  float scale = 0;       ///< of the scores, mostly 1/sqrt(head_dim); positive
  int window = 0;        ///< a token sees itself and window - 1 before it; 0 = all
  float* partials = nullptr;         ///< attention_partial_floats() floats, any contents
  std::uint32_t* tickets = nullptr;  ///< attention_tickets() zeros; zeros again afterwards
};

/// Floats of scratch memory that attention() needs for up to num_sequences sequences in the decode
/// kernel of up to max_kv_length tokens; 0 when none is ever split.
std::size_t attention_partial_floats(int num_sequences, int max_kv_length, int num_heads,
                                     int num_kv_heads, int head_dim);
std::size_t attention_tickets(int num_sequences, int num_heads, int num_kv_heads);

/// Enqueues on `stream`. cudaErrorInvalidValue if the arguments break a rule above; else what the
/// launches returned. No new tokens, no launch.
cudaError_t attention(const AttentionArgs& args, cudaStream_t stream);

}  // namespace komt::kernels
