// What goes wrong on a device, and what is left afterwards.
#include "device.h"

namespace komt::test {
namespace {

TEST("cuda: disposing gives all memory back") {
  if (!have_devices(1)) return;
  size_t before = 0;
  for (int round = 0; round < 8; ++round) {
    Loaded loaded(1);
    create(loaded.engine, loaded.session, {1});
    DecodeOptions options;
    options.rows = {row_of(1, random_tokens(9, uint32_t(round)), 12)};
    CHECK(!decode(loaded.engine, loaded.session, options).failure.failed);
    loaded.engine.dispose();
    // The first rounds also load kernels, and they stay; what a driver keeps comes in megabytes.
    if (round == 1) before = free_memory(0);
    const size_t kept_by_driver = kEmulated ? 0 : size_t(32) << 20;
    if (round > 1) CHECK(free_memory(0) + kept_by_driver >= before);
  }
}

TEST("cuda: however a checkpoint is stored, the model is the same") {
  if (!have_devices(1)) return;
  std::vector<float> expected;
  for (const DType dtype : {DType::f16, DType::f32, DType::bf16, DType::f64}) {
    for (const Layout layout : {Layout::plain, Layout::padded_rows, Layout::transposed}) {
      const TinyCheckpoint checkpoint(
          Loaded::cuda_config(), [=](Slot, int) { return Storing{dtype, layout}; }, true);
      Engine engine;
      const Failure failure =
          load(engine, checkpoint.config, checkpoint.sources, cuda_backends(), 4);
      CHECK_THAT(!failure.failed, failure.message);
      const auto session = engine.open_session();
      create(engine, session, {1});
      const Forwarded out = forward(engine, session, {{1, random_tokens(20, 5)}});
      if (expected.empty()) expected = out.logits;
      CHECK(!out.logits.empty() && out.logits == expected);
    }
  }
  check_findings();
}

TEST("cuda: float32 is refused, and so is a device that is not there") {
  if (!have_devices(1)) return;
  const TinyCheckpoint checkpoint;
  const auto failure_of = [&](int device, DType dtype) {
    Engine engine;
    return load(engine, checkpoint.config, checkpoint.sources, [=] {
      std::vector<std::unique_ptr<Backend>> backends;
      backends.push_back(create_cuda_backend(device, dtype));
      return backends;
    });
  };
  CHECK(failure_of(0, DType::f32).is(ErrorKind::invalid_argument));
  CHECK(failure_of(64, DType::f16).is(ErrorKind::device));
}

TEST("cuda: scores that are no numbers end the job, not the device") {
  for (int count = 1; count <= 2; ++count) {
    if (!have_devices(count)) return;
    Loaded loaded(count);
    create(loaded.engine, loaded.session, {1, 2});
    DecodeOptions options;
    options.rows = {row_of(1, random_tokens(9, 1), 20)};
    options.sampling.do_sample = true;
    options.sampling.temperature = 1e-39f;  // scores overflow
    const Failure failure = decode(loaded.engine, loaded.session, options).failure;
    CHECK(failure.is(ErrorKind::invalid_argument));
    CHECK_THAT(failure.message.find("not a finite number") != std::string::npos, failure.message);
    CHECK(cached_tokens(loaded.engine, loaded.session, 1) == 9);
    options.rows = {row_of(2, random_tokens(9, 1), 20)};
    options.sampling.temperature = 1.0f;
    CHECK(decode(loaded.engine, loaded.session, options).tokens[0].size() == 20);
  }
  check_findings();
}

#ifdef KOMT_CUDA_EMULATED

/// One run of everything: load, forward, fork, decode with a recorded graph, dispose. Stops at the first
/// failure; the tokens, or none.
std::vector<int32_t> all_of_it(const TinyCheckpoint& checkpoint, std::vector<Failure>& failures) {
  Engine engine;
  const auto ends = [&](const Failure& failure) {
    if (failure.failed) failures.push_back(failure);
    return failure.failed;
  };
  if (ends(load(engine, checkpoint.config, checkpoint.sources, cuda_backends(), 1))) return {};
  const auto session = engine.open_session();
  create(engine, session, {1});
  // The fork shares a half-filled page, which the decode has to copy, with bytes that were never written:
  // race detection, which looks for those, gets a full one.
  const int prompt = emulator::race_detection() ? kKvBlockTokens : kKvBlockTokens + 6;
  if (ends(forward(engine, session, {{1, random_tokens(prompt, 3)}}).failure)) return {};
  engine.post(session, [](Session& s) { s.fork(1, 2); });
  DecodeOptions options;
  options.rows = {row_of(1, {3}, 5), row_of(2, {4, 5}, 3)};
  options.sampling = lively_sampling();
  options.logprobs = true;
  const Decoded decoded = decode(engine, session, options);
  if (ends(decoded.failure)) return {};
  std::vector<int32_t> tokens = decoded.tokens[0];
  tokens.insert(tokens.end(), decoded.tokens[1].begin(), decoded.tokens[1].end());
  return tokens;
}

/// Of how many calls one is made to fail: all where the build is quick, and samples of the same loop under
/// sanitizers and race detection, where a run takes many times as long.
uint64_t fault_stride() {
  if (emulator::race_detection()) return 61;
#if defined(__SANITIZE_ADDRESS__)
  return 13;
#else
  return 1;
#endif
}

TEST("cuda: any call of the runtime may fail; nothing is lost, and the next model works") {
  if (!have_devices(1)) return;
  ModelConfig config = Loaded::cuda_config();
  config.num_hidden_layers = 1;
  config.cache_tokens = 256;
  const TinyCheckpoint checkpoint(config);
  std::vector<Failure> failures;
  const std::vector<int32_t> expected = all_of_it(checkpoint, failures);
  CHECK(failures.empty() && expected.size() == 8);
  const size_t before = free_memory(0);
  uint64_t injected = 0;
  uint64_t reported = 0;
  for (const cudaError_t error : {cudaErrorMemoryAllocation, cudaErrorUnknown}) {
    // Losing the device takes the same ways out as running out of memory, and half of the calls will do.
    const uint64_t stride = fault_stride() * (error == cudaErrorUnknown ? 2 : 1);
    for (uint64_t n = 1;; n += stride) {
      failures.clear();
      emulator::inject_fault(n, error);
      const std::vector<int32_t> tokens = all_of_it(checkpoint, failures);
      const uint64_t calls = emulator::inject_fault(0, cudaSuccess);
      if (calls < n) break;
      ++injected;
      const std::string where = "at call " + std::to_string(n) + " of " + std::to_string(calls);
      if (!failures.empty()) {
        ++reported;
        const ErrorKind expected_kind = error == cudaErrorMemoryAllocation
                                            ? ErrorKind::out_of_memory
                                            : ErrorKind::device;
        // A count of devices that cannot be had is an absent device, whatever the reason.
        CHECK_THAT(failures[0].is(expected_kind) || failures[0].is(ErrorKind::device),
                   where + ": " + failures[0].message);
      } else {
        CHECK_THAT(tokens == expected, where + ": other tokens");
      }
      CHECK_THAT(free_memory(0) == before, where + ": device memory is lost");
      for (const emulator::Report& report : emulator::take_reports()) {
        CHECK_THAT(false, where + ": " + report.kernel + ": " + report.message);
      }
    }
  }
  CHECK(reported > 0);
  std::printf("faults injected: %llu (CUDA call), %llu reported, the rest done without\n",
              static_cast<unsigned long long>(injected), static_cast<unsigned long long>(reported));
}

TEST("cuda: out of memory says how much, frees what it took, and the next call works") {
  if (!have_devices(1)) return;
  { const Loaded first(1); }
  const size_t before = free_memory(0);
  ModelConfig config = Loaded::cuda_config();
  config.vocab_size = 60'000;  // 3.8 MB of embeddings, as much again for the head
  const TinyCheckpoint checkpoint(config);
  size_t total = 0;
  size_t free = 0;
  CHECK(cudaMemGetInfo(&free, &total) == cudaSuccess);
  emulator::set_memory_limit(0, total - free + (size_t(5) << 20));
  {
    Engine engine;
    const Failure failure = load(engine, checkpoint.config, checkpoint.sources, cuda_backends());
    CHECK(failure.is(ErrorKind::out_of_memory));
    CHECK_THAT(failure.message.find("bytes are needed") != std::string::npos, failure.message);
  }
  {
    Loaded small(1);
    create(small.engine, small.session, {1});
    DecodeOptions options;
    options.rows = {row_of(1, random_tokens(9, 1), 5)};
    CHECK(decode(small.engine, small.session, options).tokens[0].size() == 5);
  }
  emulator::set_memory_limit(0, total);
  CHECK(free_memory(0) == before);
}

TEST("cuda: a lost device is named in every error, and nothing else is lost") {
  if (!have_devices(2)) return;
  for (const bool asked : {false, true}) {
    auto lost = std::make_unique<Loaded>(1);
    create(lost->engine, lost->session, {1, 2});
    DecodeOptions options;
    options.rows = {row_of(1, random_tokens(9, 1), 1500)};
    options.ask = asked;
    const Decoded decoded = decode(lost->engine, lost->session, options,
                                   [&](const DecodeStep& step, DecodeJob& job) {
                                     if (step.step == 6) {
                                       emulator::poison_device(0, cudaErrorIllegalAddress);
                                     }
                                     job.verdict({false});
                                   });
    CHECK(decoded.failure.is(ErrorKind::device) && decoded.steps >= 7);
    CHECK_THAT(decoded.failure.message.find("context is lost") != std::string::npos,
               decoded.failure.message);
    for (int again = 0; again < 2; ++again) {
      const Forwarded out = forward(lost->engine, lost->session, {{2, {1, 2}}});
      CHECK(out.failure.is(ErrorKind::device));
      CHECK_THAT(out.failure.message.find("restarted") != std::string::npos, out.failure.message);
    }
    lost.reset();
    // A model on the CPU in the same process is not concerned.
    Loaded cpu(0);
    create(cpu.engine, cpu.session, {1});
    CHECK(!forward(cpu.engine, cpu.session, {{1, {1, 2}}}).failure.failed);

    emulator::poison_device(0, cudaSuccess);
    Loaded fresh(1);
    create(fresh.engine, fresh.session, {1});
    options.rows[0].max_new_tokens = 5;
    options.ask = false;
    CHECK(decode(fresh.engine, fresh.session, options).tokens[0].size() == 5);
  }
}

#endif

}  // namespace
}  // namespace komt::test
