// The choice of a token and scoring, by the bytes of the logits that they must read at least once.
#include <cstdio>
#include <string>
#include <vector>

#include "harness.h"
#include "sampling/sampling.h"

namespace komt::bench {
namespace {

std::vector<int> vocabularies() {
  return tiny() ? std::vector{sized(32000)} : std::vector{32000, 128256, 262144};
}

std::string label(const char* what, int rows, int vocab) {
  char text[96];
  std::snprintf(text, sizeof(text), "%s, %d x %d", what, rows, vocab);
  return text;
}

// Random sampling overwrites its logits. So that no replay samples what an earlier one has rescaled,
// each launch is followed by a copy that restores its rows (whose turn comes when the cache has lost
// them), and what the copies take by themselves is subtracted.
void sampling(const char* what, int rows, int vocab, const kernels::SamplingSettings& settings) {
  if (!wanted(label(what, rows, vocab))) return;
  const std::size_t count = std::size_t(rows) * vocab;
  const Rotating<float> logits(count, 3.0f);
  const Rotating<float> originals(settings.do_sample ? count : 1, 3.0f);
  const Rotating<float> workspace(
      kernels::sample_workspace_bytes(rows, vocab, settings.do_sample) / sizeof(float) + 1);
  const std::vector<std::uint32_t> zeros(rows, 0);
  const Uploaded<std::uint32_t> steps(zeros), lanes(zeros), tickets(zeros);
  const Uploaded<std::uint64_t> hashes(std::vector<std::uint64_t>(rows, 1));
  const Uploaded<std::int32_t> tokens(std::vector<std::int32_t>(rows, 0));
  const Launch restore = [&](int i, cudaStream_t stream) {
    return cudaMemcpyAsync(logits.at(i), originals.at(i), count * sizeof(float),
                           cudaMemcpyDeviceToDevice, stream);
  };
  const Launch choose = [&](int i, cudaStream_t stream) {
    kernels::SampleArgs args;
    args.logits = logits.at(i);
    args.rows = rows;
    args.vocab = vocab;
    args.settings = settings;
    args.steps = steps.data();
    args.seed = std::uint64_t(i);
    args.stream_hashes = hashes.data();
    args.stream_lanes = lanes.data();
    args.tokens = tokens.data();
    args.workspace = workspace.at(i);
    args.tickets = tickets.data();
    return kernels::sample(args, stream);
  };
  double time = 0;
  if (settings.do_sample) {
    time = microseconds([&](int i, cudaStream_t stream) {
      const cudaError_t error = choose(i, stream);
      return error != cudaSuccess ? error : restore(i, stream);
    });
    time -= microseconds(restore);
  } else {
    time = microseconds(choose);
  }
  report_bytes(label(what, rows, vocab), time, 4.0 * rows * vocab);
}

KOMT_KERNEL_BENCH(sample) {
  kernels::SamplingSettings card;  // the model card's
  card.do_sample = true;
  card.temperature = 0.9f;
  card.top_k = 100;
  card.top_p = 0.7f;
  kernels::SamplingSettings nucleus;  // nothing thins the list out before top-p
  nucleus.do_sample = true;
  nucleus.top_p = 0.9f;
  for (const int vocab : vocabularies()) {
    for (const int rows : {1, tiny() ? 2 : 16}) {
      sampling("greedy", rows, vocab, {});
      sampling("top_k 100, top_p 0.7", rows, vocab, card);
      sampling("top_p 0.9", rows, vocab, nucleus);
    }
  }
}

KOMT_KERNEL_BENCH(score) {
  const int rows = tiny() ? 4 : 512;
  for (const int vocab : vocabularies()) {
    if (!wanted(label("log_softmax", rows, vocab)) && !wanted(label("score_tokens", rows, vocab)))
      continue;
    const Rotating<float> logits(std::size_t(rows) * vocab), output(std::size_t(rows) * vocab),
        logprobs(rows);
    const Uploaded<std::int32_t> targets(std::vector<std::int32_t>(rows, 7));
    report_bytes(label("log_softmax", rows, vocab), microseconds([&](int i, cudaStream_t stream) {
                   return kernels::log_softmax(logits.at(i), output.at(i), rows, vocab, stream);
                 }),
                 8.0 * rows * vocab);
    report_bytes(label("score_tokens", rows, vocab), microseconds([&](int i, cudaStream_t stream) {
                   return kernels::score_tokens(
                       {logits.at(i), targets.data(), logprobs.at(0), nullptr, rows, vocab},
                       stream);
                 }),
                 4.0 * rows * vocab);
  }
}

}  // namespace
}  // namespace komt::bench
