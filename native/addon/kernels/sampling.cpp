#include <cfloat>

#include "kernels/call.h"
#include "kernels/kernels.h"
#include "sampling/sampling.h"

namespace komt::addon::kernels {

Napi::Value sample(const Napi::CallbackInfo& info) {
  return launch(info, "sample", [](const Call& call) {
    // The kernels' own limits: a block a row, and ids of 24 bits.
    constexpr int kMaxRows = 65535;
    constexpr int kMaxVocab = 1 << 24;
    komt::kernels::SampleArgs args;
    args.rows = call.integer("rows", 0, kMaxRows);
    args.vocab = call.integer("vocab", 1, kMaxVocab);
    const uint64_t rows = uint64_t(args.rows);
    const uint64_t scores = elements({args.rows, args.vocab});
    args.logits = call.tensor<float>("logits", {TensorType::f32}, scores);
    args.settings.do_sample = call.flag("doSample");
    args.settings.temperature = call.number("temperature", FLT_TRUE_MIN, FLT_MAX);
    args.settings.top_k = call.integer("topK", 0);
    args.settings.top_p = call.number("topP", 0, 1);
    args.settings.min_p = call.number("minP", 0, 1);
    args.settings.typical_p = call.number("typicalP", 0, 1);
    args.settings.repetition_penalty = call.number("repetitionPenalty", FLT_TRUE_MIN, FLT_MAX);
    args.num_eos = call.integer("numEos", 0);
    args.eos_token_ids =
        call.optional<int32_t>("eosTokenIds", {TensorType::i32}, uint64_t(args.num_eos));
    if (args.eos_token_ids == nullptr) args.num_eos = 0;
    args.min_steps = call.optional<uint32_t>("minSteps", {TensorType::i32}, rows);
    args.steps = call.optional<uint32_t>("steps", {TensorType::i32}, rows);
    args.seed = call.unsigned64("seed");
    args.stream_hashes = call.optional<uint64_t>("streamHashes", {TensorType::i32}, 2 * rows);
    args.stream_lanes = call.optional<uint32_t>("streamLanes", {TensorType::i32}, rows);
    args.seen = call.optional<uint8_t>("seen", {TensorType::u8}, scores);
    args.tokens = call.tensor<int32_t>("tokens", {TensorType::i32}, rows);
    args.logprobs = call.optional<float>("logprobs", {TensorType::f32}, rows);
    args.workspace = call.context().scratch(
        komt::kernels::sample_workspace_bytes(args.rows, args.vocab, args.settings.do_sample));
    args.tickets = call.context().tickets(size_t(args.rows));
    return komt::kernels::sample(args, call.stream());
  });
}

}  // namespace komt::addon::kernels
