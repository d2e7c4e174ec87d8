#include <algorithm>
#include <cfloat>

#include "elementwise/pages.h"
#include "elementwise/rms_norm.h"
#include "elementwise/rope_append.h"
#include "kernels/call.h"
#include "kernels/kernels.h"

namespace komt::addon::kernels {

Napi::Value rms_norm(const Napi::CallbackInfo& info) {
  return launch(info, "rms_norm", [](const Call& call) {
    komt::kernels::RmsNormArgs args;
    args.rows = call.integer("rows", 0);
    args.hidden = call.integer("hidden", 1);
    const uint64_t count = elements({args.rows, args.hidden});
    args.input = call.tensor<float>("input", {TensorType::f32}, count);
    args.weight = call.tensor<float>("weight", {TensorType::f32}, uint64_t(args.hidden));
    args.output =
        call.output("output", {TensorType::f16, TensorType::bf16, TensorType::f32}, count);
    args.output_type = element_type(call.type("output"));
    args.eps = call.number("eps", 0, FLT_MAX);
    return komt::kernels::rms_norm(args, call.stream());
  });
}

Napi::Value rope_append(const Napi::CallbackInfo& info) {
  return launch(info, "rope", [](const Call& call) {
    const TensorType type = call.type("query");
    const CacheArguments cache = cache_of(call, type, true);
    komt::kernels::RopeAppendArgs args;
    args.num_tokens = call.integer("numTokens", 0);
    args.num_heads = cache.num_heads;
    args.num_kv_heads = cache.num_kv_heads;
    args.head_dim = cache.head_dim;
    args.keys = cache.keys;
    args.values = cache.values;
    const uint64_t tokens = uint64_t(args.num_tokens);
    args.qkv = call.tensor("qkv", {TensorType::f32, type},
                           elements({args.num_tokens, cache.num_heads + 2 * cache.num_kv_heads,
                                     cache.head_dim}));
    args.qkv_type = element_type(call.type("qkv"));
    args.type = element_type(type);
    args.query = call.output("query", {TensorType::f16, TensorType::bf16},
                             elements({args.num_tokens, cache.num_heads, cache.head_dim}));
    const uint64_t half = tokens > 0 ? uint64_t(cache.head_dim / 2) : 0;
    args.cos = call.tensor<float>("cos", {TensorType::f32}, half);
    args.sin = call.tensor<float>("sin", {TensorType::f32}, half);
    args.rope_rows = call.tensor<int32_t>("ropeRows", {TensorType::i32}, tokens);
    args.positions = call.tensor<int32_t>("positions", {TensorType::i32}, tokens);
    args.sequence_ids = call.tensor<int32_t>("sequenceIds", {TensorType::i32}, tokens);
    args.block_table_stride = call.integer("blockTableStride", 0);
    args.block_table = call.tensor<int32_t>("blockTable", {TensorType::i32},
                                            tokens > 0 ? uint64_t(args.block_table_stride) : 0);
    return komt::kernels::rope_append(args, call.stream());
  });
}

Napi::Value copy_pages(const Napi::CallbackInfo& info) {
  return launch(info, "Copying pages", [](const Call& call) {
    const TensorType type = call.type("sourceKeys");
    komt::kernels::CopyPagesArgs args;
    args.count = call.integer("count", 0);
    const int page_bytes = call.integer("pageBytes", 16);
    args.page_bytes = size_t(page_bytes);
    // A page where a list names pages, else as many as are copied.
    const auto pages = [&](const void* list) {
      const int64_t count = list != nullptr ? std::min(args.count, 1) : args.count;
      return elements({count, page_bytes}) / element_size(type);
    };
    const uint64_t count = uint64_t(args.count);
    args.source_pages = call.optional<int32_t>("sourcePages", {TensorType::i32}, count);
    args.target_pages = call.optional<int32_t>("targetPages", {TensorType::i32}, count);
    args.source_keys = call.tensor("sourceKeys", {type}, pages(args.source_pages));
    args.source_values = call.tensor("sourceValues", {type}, pages(args.source_pages));
    args.target_keys = call.output("targetKeys", {type}, pages(args.target_pages));
    args.target_values = call.output("targetValues", {type}, pages(args.target_pages));
    return komt::kernels::copy_pages(args, call.stream());
  });
}

}  // namespace komt::addon::kernels
