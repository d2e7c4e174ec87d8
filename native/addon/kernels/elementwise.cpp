#include "elementwise/pages.h"
#include "elementwise/rms_norm.h"
#include "elementwise/rope_append.h"
#include "kernels/call.h"
#include "kernels/kernels.h"

namespace komt::addon::kernels {

Napi::Value rms_norm(const Napi::CallbackInfo& info) {
  return launch(info, "rms_norm", [](const Call& call) {
    komt::kernels::RmsNormArgs args;
    args.input = call.tensor<float>("input");
    args.weight = call.tensor<float>("weight");
    args.output = call.output("output");
    args.output_type = call.type("output");
    args.rows = call.integer("rows");
    args.hidden = call.integer("hidden");
    args.eps = call.number("eps");
    return komt::kernels::rms_norm(args, call.stream());
  });
}

Napi::Value rope_append(const Napi::CallbackInfo& info) {
  return launch(info, "rope", [](const Call& call) {
    komt::kernels::RopeAppendArgs args;
    args.qkv = call.tensor("qkv");
    args.qkv_type = call.type("qkv");
    args.type = call.type("query");
    args.query = call.output("query");
    args.keys = call.output("keys");
    args.values = call.output("values");
    args.cos = call.tensor<float>("cos");
    args.sin = call.tensor<float>("sin");
    args.rope_rows = call.tensor<int32_t>("ropeRows");
    args.positions = call.tensor<int32_t>("positions");
    args.sequence_ids = call.tensor<int32_t>("sequenceIds");
    args.block_table = call.tensor<int32_t>("blockTable");
    args.block_table_stride = call.integer("blockTableStride");
    args.num_tokens = call.integer("numTokens");
    args.num_heads = call.integer("numHeads");
    args.num_kv_heads = call.integer("numKvHeads");
    args.head_dim = call.integer("headDim");
    return komt::kernels::rope_append(args, call.stream());
  });
}

Napi::Value copy_pages(const Napi::CallbackInfo& info) {
  return launch(info, "Copying pages", [](const Call& call) {
    komt::kernels::CopyPagesArgs args;
    args.source_keys = call.tensor("sourceKeys");
    args.source_values = call.tensor("sourceValues");
    args.target_keys = call.output("targetKeys");
    args.target_values = call.output("targetValues");
    args.source_pages = call.tensor<int32_t>("sourcePages");
    args.target_pages = call.tensor<int32_t>("targetPages");
    args.count = call.integer("count");
    args.page_bytes = size_t(call.integer("pageBytes"));
    return komt::kernels::copy_pages(args, call.stream());
  });
}

}  // namespace komt::addon::kernels
