// The choice between the two ways to sample, and what they refuse.
#include "sampling/sampling.h"

#include "sampling/kernels.h"

namespace komt::kernels {
namespace {

bool is_valid(const SampleArgs& args) {
  const SamplingSettings& s = args.settings;
  if (args.rows < 0 || args.rows > 65535 || args.vocab < 1 || args.vocab > 1 << 24) return false;
  if (s.repetition_penalty != 1.0f && (args.seen == nullptr || !(s.repetition_penalty > 0))) {
    return false;
  }
  if (args.min_steps != nullptr && args.steps == nullptr) return false;
  if (args.tickets == nullptr) return false;
  if (!s.do_sample) return true;
  return s.temperature > 0 && s.top_k >= 0 && s.top_p >= 0 && s.min_p >= 0 && s.min_p <= 1 &&
         s.typical_p > 0 && args.steps != nullptr && args.stream_hashes != nullptr &&
         args.stream_lanes != nullptr;
}

}  // namespace

std::size_t sample_workspace_bytes(int rows, int vocab, bool do_sample) {
  return do_sample ? random_workspace_bytes(rows, vocab) : greedy_workspace_bytes(rows, vocab);
}

cudaError_t sample(const SampleArgs& args, cudaStream_t stream) {
  if (!is_valid(args)) return cudaErrorInvalidValue;
  if (args.rows == 0) return cudaSuccess;
  return args.settings.do_sample ? sample_random(args, stream) : sample_greedy(args, stream);
}

}  // namespace komt::kernels
