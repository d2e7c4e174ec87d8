#include "attention/attention.h"

#include <algorithm>
#include <cfloat>

#include "kernels/call.h"
#include "kernels/kernels.h"

namespace komt::addon::kernels {

Napi::Value attention(const Napi::CallbackInfo& info) {
  return launch(info, "attention", [](const Call& call) {
    // Launched as a grid with a block a sequence.
    constexpr int kMaxSequences = 65535;
    const TensorType type = call.type("query");
    const CacheArguments cache = cache_of(call, type, false);
    komt::kernels::AttentionArgs args;
    args.type = element_type(type);
    args.num_heads = cache.num_heads;
    args.num_kv_heads = cache.num_kv_heads;
    args.head_dim = cache.head_dim;
    args.keys = cache.keys;
    args.values = cache.values;
    args.query = call.tensor("query", {TensorType::f16, TensorType::bf16}, 0);
    args.output = call.output("output", {type}, call.count("query"));
    args.num_sequences = call.integer("numSequences", 0, kMaxSequences);
    const uint64_t sequences = uint64_t(args.num_sequences);
    args.cu_seqlens = call.tensor<int32_t>("cuSeqlens", {TensorType::i32}, sequences + 1);
    args.kv_lengths = call.tensor<int32_t>("kvLengths", {TensorType::i32}, sequences);
    args.block_table_stride = call.integer("blockTableStride", 0);
    args.block_table =
        call.tensor<int32_t>("blockTable", {TensorType::i32},
                             elements({args.num_sequences, args.block_table_stride}));
    args.max_kv_length = call.integer(
        "maxKvLength", 0,
        int(std::min<int64_t>(INT32_MAX - komt::kernels::kPageTokens,
                              int64_t(args.block_table_stride) * komt::kernels::kPageTokens)));
    args.max_new_tokens = call.integer("maxNewTokens", 0, args.max_kv_length);
    args.scale = call.number("scale", 0, FLT_MAX);
    args.window = call.integer("window", 0);
    const size_t floats = komt::kernels::attention_partial_floats(
        args.num_sequences, args.max_kv_length, args.num_heads, args.num_kv_heads, args.head_dim);
    if (floats > 0) {
      args.partials = static_cast<float*>(call.context().scratch(floats * sizeof(float)));
      args.tickets = call.context().tickets(komt::kernels::attention_tickets(
          args.num_sequences, args.num_heads, args.num_kv_heads));
    }
    return komt::kernels::attention(args, call.stream());
  });
}

}  // namespace komt::addon::kernels
