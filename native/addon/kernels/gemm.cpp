#include <string>

#include "engine/error.h"
#include "gemm/linear.h"
#include "kernels/call.h"
#include "kernels/kernels.h"

namespace komt::addon::kernels {

namespace {

komt::kernels::RopeAppend rope_of(const Call& call) {
  komt::kernels::RopeAppend rope;
  rope.positions = call.tensor<int32_t>("positions");
  rope.rope_rows = call.tensor<int32_t>("ropeRows");
  rope.sequence_ids = call.tensor<int32_t>("sequenceIds");
  rope.block_table = call.tensor<int32_t>("blockTable");
  rope.block_table_stride = call.integer("blockTableStride");
  rope.cos = call.tensor<float>("cos");
  rope.sin = call.tensor<float>("sin");
  rope.keys = call.output("keys");
  rope.values = call.output("values");
  rope.num_heads = call.integer("numHeads");
  rope.num_kv_heads = call.integer("numKvHeads");
  rope.head_dim = call.integer("headDim");
  return rope;
}

}  // namespace

Napi::Value gemm(const Napi::CallbackInfo& info) {
  return launch(info, "gemm", [](const Call& call) {
    komt::kernels::LinearArgs args;
    args.type = call.type("weight");
    args.rows = call.integer("rows");
    args.n = call.integer("n");
    args.k = call.integer("k");
    args.input = call.tensor("input");
    args.weight = call.tensor("weight");
    args.bias = call.tensor<float>("bias");
    args.output = call.output("output");
    args.output_type = call.type("output");
    args.epilogue = komt::kernels::LinearEpilogue(call.integer("epilogue"));
    if (call.has("rope")) args.rope = rope_of(call.nested("rope"));
    args.norm_weight = call.tensor<float>("normWeight");
    args.norm_eps = call.number("normEps");
    args.batch_invariant = call.flag("batchInvariant");
    // As the engine launches it. The kernel fetches its first weights before those in front have
    // ended, which must not be writing them.
    args.programmatic_dependent_launch = !call.written_on_device("weight");
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
