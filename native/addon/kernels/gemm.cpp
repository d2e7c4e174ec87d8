#include <cfloat>
#include <string>

#include "engine/error.h"
#include "gemm/linear.h"
#include "kernels/call.h"
#include "kernels/kernels.h"

namespace komt::addon::kernels {

namespace {

komt::kernels::RopeAppend rope_of(const Call& call, int rows, TensorType type) {
  const CacheArguments cache = cache_of(call, type, true);
  komt::kernels::RopeAppend rope;
  rope.positions = call.tensor<int32_t>("positions", {TensorType::i32}, uint64_t(rows));
  rope.rope_rows = call.tensor<int32_t>("ropeRows", {TensorType::i32}, uint64_t(rows));
  rope.sequence_ids = call.tensor<int32_t>("sequenceIds", {TensorType::i32}, uint64_t(rows));
  rope.block_table_stride = call.integer("blockTableStride", 0);
  rope.block_table = call.tensor<int32_t>("blockTable", {TensorType::i32},
                                          rows > 0 ? uint64_t(rope.block_table_stride) : 0);
  const uint64_t half = rows > 0 ? uint64_t(cache.head_dim / 2) : 0;
  rope.cos = call.tensor<float>("cos", {TensorType::f32}, half);
  rope.sin = call.tensor<float>("sin", {TensorType::f32}, half);
  rope.keys = cache.keys;
  rope.values = cache.values;
  rope.num_heads = cache.num_heads;
  rope.num_kv_heads = cache.num_kv_heads;
  rope.head_dim = cache.head_dim;
  return rope;
}

}  // namespace

Napi::Value gemm(const Napi::CallbackInfo& info) {
  using komt::kernels::LinearEpilogue;
  return launch(info, "gemm", [](const Call& call) {
    const TensorType type = call.type("weight");
    komt::kernels::LinearArgs args;
    args.type = element_type(type);
    args.rows = call.integer("rows", 0);
    args.n = call.integer("n", 1);
    args.k = call.integer("k", 8);
    args.epilogue = LinearEpilogue(
        call.integer("epilogue", 0, int(LinearEpilogue::rope_append)));
    args.norm_weight = call.optional<float>("normWeight", {TensorType::f32}, uint64_t(args.k));
    args.norm_eps = call.number("normEps", 0, FLT_MAX);
    args.batch_invariant = call.flag("batchInvariant");
    args.input = call.tensor("input", {args.norm_weight != nullptr ? TensorType::f32 : type},
                             elements({args.rows, args.k}));
    args.weight = call.tensor("weight", {TensorType::f16, TensorType::bf16},
                              elements({args.n, args.k}));
    args.bias = call.optional<float>("bias", {TensorType::f32}, uint64_t(args.n));
    int64_t columns = args.n;
    switch (args.epilogue) {
      case LinearEpilogue::store:
      case LinearEpilogue::residual_add: break;
      case LinearEpilogue::silu_gate: columns = args.n / 2; break;
      case LinearEpilogue::rope_append:
        args.rope = rope_of(call.nested("rope"), args.rows, type);
        columns = int64_t(args.rope.num_heads) * args.rope.head_dim;
        break;
    }
    // As the engine launches it. The kernel fetches its first weights before those in front have
    // ended, which must not be writing them.
    args.programmatic_dependent_launch = !call.written_on_device("weight");
    args.output = call.output("output", {TensorType::f32, type}, elements({args.rows, columns}));
    args.output_type = element_type(call.type("output"));
    if (args.norm_weight != nullptr && !komt::kernels::linear_fuses_norm(args)) {
      throw Error(ErrorKind::invalid_argument,
                  "A norm in front is fused only into the product of a single row, without "
                  "batchInvariant, of at most as many columns as shared memory holds; found " +
                      std::to_string(args.rows) + " rows of " + std::to_string(args.k) +
                      ". Call rms_norm first");
    }
    return komt::kernels::linear(args, call.stream());
  });
}

}  // namespace komt::addon::kernels
