// Decoding on CUDA: against the CPU in float32, against itself under other schedules, over two
// devices, and while other sessions take turns.
#include "device.h"

namespace komt::test {
namespace {

/// Of logits up to 10, by activations and a cache in half precision. Twice what was seen.
float error_of(DType dtype) { return dtype == DType::f16 ? 0.04f : 0.3f; }

DecodeOptions three_rows(bool sampled, int new_tokens) {
  DecodeOptions options;
  options.rows = {row_of(1, random_tokens(5, 1), new_tokens),
                  row_of(2, random_tokens(62, 2), new_tokens / 2),
                  row_of(3, random_tokens(130, 3), new_tokens - 3)};
  options.logprobs = true;
  options.seed = 3;
  options.min_new_tokens = 4;
  options.eos_token_ids = {7, 11};
  if (sampled) options.sampling = lively_sampling();
  return options;
}

Decoded decode_on(Loaded& loaded, const DecodeOptions& options) {
  create(loaded.engine, loaded.session, {1, 2, 3});
  Decoded decoded = decode(loaded.engine, loaded.session, options);
  for (const int handle : {1, 2, 3}) {
    loaded.engine.post(loaded.session, [=](Session& s) { s.release(handle); });
  }
  CHECK(blocks_in_use(loaded.engine, loaded.session) == 0);
  return decoded;
}

TEST("cuda: logits are the CPU's, but for rounding") {
  if (!have_devices(1)) return;
  Loaded cpu(0);  // the weights are exact in every type
  const std::vector<ChunkedForward::Row> rows = {{1, random_tokens(70, 5)}, {2, random_tokens(1, 6)}};
  create(cpu.engine, cpu.session, {1, 2});
  const Forwarded expected = forward(cpu.engine, cpu.session, rows);
  for (int run = 0; run < 2 * kSchedules; ++run) {
    begin_schedule(run / 2);
    const DType dtype = run % 2 == 0 ? DType::f16 : DType::bf16;
    Loaded cuda(1, dtype);
    create(cuda.engine, cuda.session, {1, 2});
    const Forwarded found = forward(cuda.engine, cuda.session, rows);
    CHECK_THAT(!found.failure.failed, found.failure.message);
    CHECK(found.logits.size() == expected.logits.size());
    float worst = 0;
    for (size_t i = 0; i < found.logits.size(); ++i) {
      worst = std::max(worst, std::abs(found.logits[i] - expected.logits[i]));
    }
    CHECK_THAT(worst < error_of(dtype),
               name_of(dtype) + std::string(": largest difference ") + std::to_string(worst));
    check_findings();
  }
}

TEST("cuda: every greedy choice is the best one by the CPU's logits, but for rounding") {
  if (!have_devices(1)) return;
  const DecodeOptions options = three_rows(false, 40);
  Loaded cpu(0);
  for (const DType dtype : {DType::f16, DType::bf16}) {
    Loaded cuda(1, dtype);
    const Decoded decoded = decode_on(cuda, options);
    CHECK_THAT(!decoded.failure.failed, decoded.failure.message);
    for (size_t r = 0; r < options.rows.size(); ++r) {
      const int handle = int(r) + 1;
      std::vector<int32_t> tokens = options.rows[r].tokens;
      const size_t prompt = tokens.size();
      tokens.insert(tokens.end(), decoded.tokens[r].begin(), decoded.tokens[r].end());
      create(cpu.engine, cpu.session, {handle});
      const Forwarded out = forward(cpu.engine, cpu.session, {{handle, tokens}});
      cpu.engine.post(cpu.session, [=](Session& s) { s.release(handle); });
      for (size_t i = prompt; i < tokens.size(); ++i) {
        const float* logits = out.logits.data() + (i - 1) * 97;
        float best = 0;
        for (int id = 0; id < 97; ++id) {
          const bool masked = i - prompt < 4 && (id == 7 || id == 11);
          if (!masked) best = std::max(best, logits[id]);
        }
        CHECK_THAT(best - logits[tokens[i]] < 2 * error_of(dtype),
                   "row " + std::to_string(r) + ", token " + std::to_string(i - prompt));
      }
    }
  }
}

TEST("cuda: schedules and the number of devices change no bit") {
  const int devices = have_devices(2) ? 2 : 1;
  if (!have_devices(1)) return;
  for (const bool sampled : {false, true}) {
    const DecodeOptions options = three_rows(sampled, 24);
    begin_schedule(0);
    Loaded first(1);
    const Decoded expected = decode_on(first, options);
    CHECK_THAT(!expected.failure.failed, expected.failure.message);
    CHECK(expected.tokens[0].size() >= 4);
    for (int seed = 0; seed < kSchedules; ++seed) {
      const int count = seed % 2 == 0 ? devices : 1;
      begin_schedule(seed);
      Loaded other(count);
      CHECK_THAT(decode_on(other, options) == expected,
                 "schedule " + std::to_string(seed) + ", devices " + std::to_string(count));
      check_findings();
    }
  }
}

TEST("cuda: devices that share a model reach each other's memory, where they can") {
  if (!have_devices(2)) return;
  int possible = 0;
  CHECK(cudaDeviceCanAccessPeer(&possible, 0, 1) == cudaSuccess);
  const auto run = [] {
    begin_schedule(0);
    Loaded split(2);
    const Decoded decoded = decode_on(split, three_rows(false, 6));
    CHECK_THAT(!decoded.failure.failed, decoded.failure.message);
    check_findings();
    return decoded;
  };
#ifdef KOMT_CUDA_EMULATED
  // Machines whose devices can't: through the host, to the same tokens.
  for (const int device : {0, 1}) {
    CHECK(cudaSetDevice(device) == cudaSuccess);
    (void)cudaDeviceDisablePeerAccess(1 - device);
  }
  emulator::set_peer_access(false);
  const Decoded through_host = run();
  emulator::set_peer_access(true);
#endif
  const Decoded direct = run();
#ifdef KOMT_CUDA_EMULATED
  CHECK(direct == through_host);
#endif
  for (const int device : {0, 1}) {
    CHECK(cudaSetDevice(device) == cudaSuccess);
    const cudaError_t again = cudaDeviceEnablePeerAccess(1 - device, 0);
    CHECK(again == (possible ? cudaErrorPeerAccessAlreadyEnabled : cudaErrorPeerAccessUnsupported));
    (void)cudaGetLastError();
  }
  CHECK(cudaSetDevice(0) == cudaSuccess);
}

TEST("cuda: sessions take turns, each on its own state") {
  if (!have_devices(1)) return;
  for (int seed = 0; seed < kSchedules; ++seed) {
    begin_schedule(seed);
    Loaded loaded(1);
    const DecodeOptions options = three_rows(true, 12);
    const Decoded alone = decode_on(loaded, options);
    std::vector<Decoding> decodings;
    for (int i = 0; i < 2; ++i) {
      const auto session = loaded.engine.open_session();
      create(loaded.engine, session, {1, 2, 3});
      decodings.push_back(start_decode(loaded.engine, session, options));
    }
    for (const Decoding& decoding : decodings) CHECK(decoding.get() == alone);
    check_findings();
  }
}

TEST("cuda: a verdict for every token, cancelling with steps under way") {
  if (!have_devices(1)) return;
  for (int seed = 0; seed < kSchedules; ++seed) {
    begin_schedule(seed);
    Loaded loaded(1);
    DecodeOptions options = three_rows(true, 14);
    const Decoded expected = decode_on(loaded, options);
    options.ask = true;
    create(loaded.engine, loaded.session, {1, 2, 3});
    const Decoded asked =
        decode(loaded.engine, loaded.session, options, [](const DecodeStep& step, DecodeJob& job) {
          job.verdict({step.step >= 9, false, false});
        });
    CHECK(asked.tokens[1] == expected.tokens[1] && asked.tokens[2] == expected.tokens[2]);
    CHECK(asked.tokens[0].size() == std::min<size_t>(10, expected.tokens[0].size()));

    const auto other = loaded.engine.open_session();
    create(loaded.engine, other, {1, 2, 3});
    DecodeOptions endless = three_rows(true, 1500);
    endless.eos_token_ids.clear();
    const auto begun = std::make_shared<Mailbox<int>>();
    const Decoding decoding = start_decode(loaded.engine, other, endless,
                                           [=](const DecodeStep& step, DecodeJob&) {
                                             if (step.step == 8) begun->put(0);
                                           });
    const auto job = decoding.made->get();
    begun->get();
    job->cancel();
    loaded.engine.wake();
    CHECK(decoding.get().failure.is(ErrorKind::aborted));
    check_findings();
  }
}

}  // namespace
}  // namespace komt::test
