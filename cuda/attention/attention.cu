// The choice between the two attention kernels, and the scratch memory they need.
#include "attention/attention.h"

#include "attention/kernels.h"
#include "attention/split.h"

namespace komt::kernels {
namespace {

bool is_valid(const AttentionArgs& args) {
  return args.num_heads > 0 && args.num_kv_heads > 0 && args.num_heads % args.num_kv_heads == 0 &&
         args.head_dim > 0 && args.head_dim % 8 == 0 && args.head_dim <= 256 &&
         args.num_sequences >= 0 && args.num_sequences <= 65535 && args.max_new_tokens >= 0 &&
         args.scale > 0 && args.window >= 0;
}

int max_splits(int max_kv_length, int num_heads, int num_kv_heads) {
  return max_splits_of((max_kv_length + kPageTokens - 1) / kPageTokens,
                       num_kv_heads * decode_row_tiles(num_heads, num_kv_heads));
}

}  // namespace

std::size_t attention_partial_floats(int num_sequences, int max_kv_length, int num_heads,
                                     int num_kv_heads, int head_dim) {
  const int splits = max_splits(max_kv_length, num_heads, num_kv_heads);
  if (splits == 1) return 0;
  return static_cast<std::size_t>(num_sequences) * num_heads * splits * (head_dim + 2);
}

std::size_t attention_tickets(int num_sequences, int num_heads, int num_kv_heads) {
  return static_cast<std::size_t>(num_sequences) * num_kv_heads *
         decode_row_tiles(num_heads, num_kv_heads);
}

cudaError_t attention(const AttentionArgs& args, cudaStream_t stream) {
  if (!is_valid(args)) return cudaErrorInvalidValue;
  if (args.num_sequences == 0 || args.max_new_tokens == 0) return cudaSuccess;
  if (args.max_new_tokens > 1) {
    if (cudaError_t error = attention_prefill(args, stream); error != cudaSuccess) return error;
    // The only sequence has several new tokens.
    if (args.num_sequences == 1) return cudaSuccess;
  }
  const bool may_split = max_splits(args.max_kv_length, args.num_heads, args.num_kv_heads) > 1;
  if (may_split && (args.partials == nullptr || args.tickets == nullptr)) {
    return cudaErrorInvalidValue;
  }
  return attention_decode(args, stream);
}

}  // namespace komt::kernels
