#include "attention/attention.h"

#include "kernels/call.h"
#include "kernels/kernels.h"

namespace komt::addon::kernels {

Napi::Value attention(const Napi::CallbackInfo& info) {
  return launch(info, "attention", [](const Call& call) {
    komt::kernels::AttentionArgs args;
    args.type = call.type("query");
    args.query = call.tensor("query");
    args.output = call.output("output");
    args.keys = call.tensor("keys");
    args.values = call.tensor("values");
    args.cu_seqlens = call.tensor<int32_t>("cuSeqlens");
    args.kv_lengths = call.tensor<int32_t>("kvLengths");
    args.block_table = call.tensor<int32_t>("blockTable");
    args.block_table_stride = call.integer("blockTableStride");
    args.num_sequences = call.integer("numSequences");
    args.max_new_tokens = call.integer("maxNewTokens");
    args.max_kv_length = call.integer("maxKvLength");
    args.num_heads = call.integer("numHeads");
    args.num_kv_heads = call.integer("numKvHeads");
    args.head_dim = call.integer("headDim");
    args.scale = call.number("scale");
    args.window = call.integer("window");
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
