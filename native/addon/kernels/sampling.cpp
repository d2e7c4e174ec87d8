#include "kernels/call.h"
#include "kernels/kernels.h"
#include "sampling/sampling.h"

namespace komt::addon::kernels {

Napi::Value sample(const Napi::CallbackInfo& info) {
  return launch(info, "sample", [](const Call& call) {
    komt::kernels::SampleArgs args;
    args.logits = call.tensor<float>("logits");
    args.rows = call.integer("rows");
    args.vocab = call.integer("vocab");
    args.settings.do_sample = call.flag("doSample");
    args.settings.temperature = call.number("temperature");
    args.settings.top_k = call.integer("topK");
    args.settings.top_p = call.number("topP");
    args.settings.min_p = call.number("minP");
    args.settings.typical_p = call.number("typicalP");
    args.settings.repetition_penalty = call.number("repetitionPenalty");
    args.eos_token_ids = call.tensor<int32_t>("eosTokenIds");
    args.num_eos = call.integer("numEos");
    args.min_steps = call.tensor<uint32_t>("minSteps");
    args.steps = call.tensor<uint32_t>("steps");
    args.seed = call.unsigned64("seed");
    args.stream_hashes = call.tensor<uint64_t>("streamHashes");
    args.stream_lanes = call.tensor<uint32_t>("streamLanes");
    args.seen = call.tensor<uint8_t>("seen");
    args.tokens = call.tensor<int32_t>("tokens");
    args.logprobs = call.tensor<float>("logprobs");
    args.workspace = call.context().scratch(
        komt::kernels::sample_workspace_bytes(args.rows, args.vocab, args.settings.do_sample));
    args.tickets = call.context().tickets(size_t(args.rows));
    return komt::kernels::sample(args, call.stream());
  });
}

}  // namespace komt::addon::kernels
