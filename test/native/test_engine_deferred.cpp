// Decoding on a backend that runs behind the host: steps stay on the device, launches are replayed,
// two are under way at once. Every bit must be the CPU backend's.
#include <thread>

#include "engine_deferred_backend.h"
#include "engine_support.h"

namespace komt::test {
namespace {

struct Device {
  explicit Device(DeferredOptions options, ModelConfig config = tiny_config()) : checkpoint(config) {
    options.counts = &counts;
    start(deferred_backends(options));
  }
  /// The CPU backend, for what is expected.
  explicit Device(ModelConfig config = tiny_config()) : checkpoint(config) { start(cpu_backends()); }

  void start(Engine::BackendFactory backends) {
    const Failure failure = load(engine, checkpoint.config, checkpoint.sources, std::move(backends));
    if (failure.failed) throw std::runtime_error(failure.message);
    session = engine.open_session();
  }

  DeferredCounts counts;
  TinyCheckpoint checkpoint;
  Engine engine;
  Engine::SessionId session = 0;
};

/// As late as possible, and beside the host; a cache of fixed size, and one that moves as it grows;
/// layers over two devices.
const std::vector<std::pair<std::string, DeferredOptions>>& kinds() {
  static const std::vector<std::pair<std::string, DeferredOptions>> all = {
      {"late", {false, false, 512, nullptr, 1}},
      {"late, growing", {false, true, 512, nullptr, 1}},
      {"own thread", {true, false, 512, nullptr, 1}},
      {"own thread, growing", {true, true, 512, nullptr, 1}},
      {"late, two devices", {false, false, 512, nullptr, 2}},
      {"own threads, two devices", {true, false, 512, nullptr, 2}},
  };
  return all;
}

/// Runs `script` on the CPU and on every kind of device: all answers must be the same.
void compare(const std::function<std::vector<Decoded>(Device&)>& script,
             const std::function<void(Device&)>& look = {}) {
  Device cpu;
  const std::vector<Decoded> expected = script(cpu);
  for (const Decoded& d : expected) CHECK_THAT(!d.failure.failed, d.failure.message);
  const int in_use = blocks_in_use(cpu.engine, cpu.session);
  for (const auto& [name, options] : kinds()) {
    Device device(options);
    const std::vector<Decoded> found = script(device);
    CHECK(found.size() == expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      CHECK_THAT(!found[i].failure.failed, name + ": " + found[i].failure.message);
      CHECK_THAT(found[i] == expected[i], name + ": decode " + std::to_string(i) + " differs");
    }
    CHECK(blocks_in_use(device.engine, device.session) == in_use);
    if (look) look(device);
    device.engine.dispose();
    CHECK_THAT(device.counts.buffers == 0, name + ": memory outlived the engine");
  }
}

DecodeOptions options_of(std::vector<DecodeRow> rows, bool sampled) {
  DecodeOptions options;
  options.rows = std::move(rows);
  options.logprobs = true;
  options.seed = 3;
  if (sampled) options.sampling = lively_sampling();
  return options;
}

TEST("engine deferred: rows that end at different times") {
  for (const bool sampled : {false, true}) {
    compare(
        [&](Device& d) {
          create(d.engine, d.session, {1, 2, 3, 4});
          return std::vector<Decoded>{
              decode(d.engine, d.session,
                     options_of({row_of(1, random_tokens(5, 1), 40), row_of(2, random_tokens(60, 2), 3),
                                 row_of(3, random_tokens(63, 3), 17), row_of(4, random_tokens(1, 4), 1)},
                                sampled))};
        },
        [](Device& d) {
          CHECK(d.counts.captures >= 2 && d.counts.replays >= 20);
          CHECK_THAT(d.counts.most_readbacks >= 4, "no two steps were under way at once");
        });
  }
}

TEST("engine deferred: eos ends rows that the device has run on with") {
  compare([](Device& d) {
    create(d.engine, d.session, {1, 2, 3, 4, 5, 6});
    DecodeOptions options = options_of({row_of(1, random_tokens(20, 1), 30, 91),
                                        row_of(2, random_tokens(62, 2), 30, 92),
                                        row_of(3, random_tokens(9, 3), 30, 93)}, true);
    const Decoded free = decode(d.engine, d.session, options);
    options.eos_token_ids = {free.tokens[0][4], free.tokens[1][11]};
    for (size_t r = 0; r < 3; ++r) options.rows[r].sequence = 4 + int(r);
    const Decoded cut = decode(d.engine, d.session, options);
    CHECK(cut.tokens[0].size() <= 5 && cut.tokens[1].size() <= 12);
    // What the device did too much is out of the caches: they go on as if it had not been.
    DecodeOptions further = options_of({}, true);
    for (size_t r = 0; r < 3; ++r) {
      CHECK(cached_tokens(d.engine, d.session, 4 + int(r)) ==
            int(options.rows[r].tokens.size() + cut.tokens[r].size()) - 1);
      further.rows.push_back(row_of(4 + int(r), {cut.tokens[r].back()}, 10));
    }
    return std::vector<Decoded>{free, cut, decode(d.engine, d.session, further)};
  });
}

TEST("engine deferred: forks share pages with rows that are being decoded no longer") {
  compare([](Device& d) {
    create(d.engine, d.session, {1});
    const Decoded first =
        decode(d.engine, d.session, options_of({row_of(1, random_tokens(50, 1), 10)}, true));
    d.engine.post(d.session, [](Session& s) {
      for (const int handle : {2, 3, 4}) s.fork(1, handle);
      s.truncate(3, 33);
    });
    const int32_t last = first.tokens[0].back();
    const Decoded second = decode(d.engine, d.session,
                                  options_of({row_of(2, {last}, 30), row_of(3, {last, 5}, 70),
                                              row_of(4, {last, 7, 9}, 50)}, true));
    d.engine.post(d.session, [](Session& s) {
      s.release(2);
      s.fork(4, 2);
    });
    const Decoded third = decode(
        d.engine, d.session, options_of({row_of(1, {last}, 20), row_of(2, {1}, 20)}, false));
    return std::vector<Decoded>{first, second, third};
  });
}

TEST("engine deferred: past 512 cached tokens the device's state is made anew") {
  compare(
      [](Device& d) {
        create(d.engine, d.session, {1, 2});
        return std::vector<Decoded>{decode(
            d.engine, d.session,
            options_of({row_of(1, random_tokens(480, 1), 70), row_of(2, random_tokens(450, 2), 90)},
                       false))};
      },
      [](Device& d) { CHECK(d.counts.captures >= 2); });
}

TEST("engine deferred: more rows than a batch takes, down to one slice of them") {
  Device cpu;
  DeferredOptions narrow;
  narrow.batch_tokens = 4;
  Device device(narrow);
  const auto script = [](Device& d) {
    std::vector<DecodeRow> rows;
    for (int r = 0; r < 6; ++r) {
      create(d.engine, d.session, {r});
      rows.push_back(row_of(r, random_tokens(3 + r, uint32_t(r)), r < 4 ? 3 : 12));
    }
    return decode(d.engine, d.session, options_of(rows, true));
  };
  CHECK(script(device) == script(cpu));
}

TEST("engine deferred: verdicts, at once and late") {
  compare([](Device& d) {
    create(d.engine, d.session, {1, 2, 3, 4});
    DecodeOptions options =
        options_of({row_of(1, random_tokens(8, 1), 25, 31), row_of(2, random_tokens(61, 2), 25, 32)}, true);
    options.ask = true;
    const Decoded at_once =
        decode(d.engine, d.session, options, [](const DecodeStep& step, DecodeJob& job) {
          job.verdict({step.step >= 9, false});
        });
    CHECK(at_once.tokens[0].size() == 10 && at_once.tokens[1].size() == 25);
    options.rows[0].sequence = 3;
    options.rows[1].sequence = 4;
    const auto steps = std::make_shared<Mailbox<int>>();
    const Decoding decoding = start_decode(d.engine, d.session, options,
                                           [=](const DecodeStep& s, DecodeJob&) { steps->put(s.step); });
    const auto job = decoding.made->get();
    for (int i = 0; i < 20; ++i) {
      steps->get();
      if (i % 5 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      job->verdict({i >= 9, i >= 19});
      d.engine.wake();
    }
    const Decoded late = decoding.get();
    CHECK(late.tokens[0] == at_once.tokens[0] && late.tokens[1].size() == 20);
    CHECK(cached_tokens(d.engine, d.session, 3) == 8 + 9);
    CHECK(cached_tokens(d.engine, d.session, 4) == 61 + 19);
    return std::vector<Decoded>{at_once, late};
  });
}

TEST("engine deferred: sessions take turns, each on its own device state") {
  compare([](Device& d) {
    std::vector<Decoding> decodings;
    std::vector<Engine::SessionId> sessions;
    for (uint32_t i = 0; i < 4; ++i) {
      sessions.push_back(d.engine.open_session());
      create(d.engine, sessions.back(), {1, 2});
      decodings.push_back(start_decode(
          d.engine, sessions.back(),
          options_of({row_of(1, random_tokens(int(30 * i) + 1, i), 40, i + 1),
                      row_of(2, random_tokens(5, i + 50), 10 + int(i), i + 11)}, i % 2 == 0)));
    }
    std::vector<Decoded> all;
    for (const Decoding& decoding : decodings) all.push_back(decoding.get());
    for (const auto session : sessions) d.engine.close_session(session);
    // The youngest session's turn comes after all of these have ended.
    CHECK(blocks_in_use(d.engine, d.engine.open_session()) == 0);
    return all;
  });
}

TEST("engine deferred: memory that moves under a recorded step has it recorded anew") {
  // Another session's longer prompts move activations, rotary table and cache while the first decodes.
  DeferredOptions growing{false, true, 512, nullptr, 1};
  Device cpu;
  Device device(growing);
  const auto script = [](Device& d) {
    create(d.engine, d.session, {1});
    DecodeOptions options = options_of({row_of(1, random_tokens(8, 1), 60)}, true);
    options.ask = true;
    const auto other = d.engine.open_session();
    create(d.engine, other, {1, 2, 3});
    const auto reached = std::make_shared<Mailbox<int>>();
    const Decoding decoding = start_decode(d.engine, d.session, options,
                                           [=](const DecodeStep& s, DecodeJob&) { reached->put(s.step); });
    const auto job = decoding.made->get();
    for (int i = 0; i < 60; ++i) {
      reached->get();
      if (i == 10) forward(d.engine, other, {{1, random_tokens(300, 1)}});
      if (i == 20) forward(d.engine, other, {{2, random_tokens(900, 2)}});
      if (i == 30) decode(d.engine, other, options_of({row_of(3, random_tokens(5, 3), 5)}, false));
      job->verdict({});
      d.engine.wake();
    }
    return decoding.get();
  };
  const Decoded expected = script(cpu);
  CHECK(expected.steps == 60 && script(device) == expected);
  CHECK(device.counts.captures >= 4 && device.counts.replays > 20);
}

TEST("engine deferred: cancelled with steps under way; a job that outlives its engine") {
  for (const auto& [name, options] : kinds()) {
    auto device = std::make_unique<Device>(options);
    create(device->engine, device->session, {1, 2});
    const auto begun = std::make_shared<Mailbox<int>>();
    const auto on_step = [=](const DecodeStep& step, DecodeJob&) {
      if (step.step == 20) begun->put(0);
    };
    const Decoding first = start_decode(device->engine, device->session,
                                        options_of({row_of(1, random_tokens(8, 1), 1900)}, true), on_step);
    const auto job = first.made->get();
    begun->get();
    job->cancel();
    device->engine.wake();
    const Decoded out = first.get();
    CHECK(out.failure.is(ErrorKind::aborted));
    CHECK(cached_tokens(device->engine, device->session, 1) == 8 + out.steps - 1);

    const Decoding second = start_decode(device->engine, device->session,
                                         options_of({row_of(2, random_tokens(8, 1), 1900)}, true), on_step);
    const auto held = second.made->get();
    begun->get();
    device->engine.dispose();
    CHECK(second.get().failure.is(ErrorKind::disposed));
    CHECK_THAT(device->counts.buffers == 0, name + ": memory outlived the engine");
    device.reset();
    held->verdict({true});
  }
}

TEST("engine deferred: a full cache ends the job that asked, and gives its pages back") {
  ModelConfig config = tiny_config();
  config.cache_tokens = 4 * kKvBlockTokens;
  for (const auto& [name, options] : kinds()) {
    if (options.growable_cache) continue;
    Device device(options, config);
    create(device.engine, device.session, {1, 2});
    const auto other = device.engine.open_session();
    create(device.engine, other, {1});
    forward(device.engine, other, {{1, random_tokens(60, 1)}}, ForwardJob::Wanted::none);
    const Decoded full = decode(
        device.engine, device.session,
        options_of({row_of(1, random_tokens(60, 1), 100), row_of(2, random_tokens(60, 2), 100)}, false));
    CHECK(full.failure.is(ErrorKind::out_of_memory) && full.steps >= 3);
    CHECK(cached_tokens(device.engine, device.session, 1) == 60 + full.steps - 1);
    device.engine.post(device.session, [](Session& s) { s.release(2); });
    const Decoded fits = decode(device.engine, device.session,
                                options_of({row_of(1, {full.tokens[0].back()}, 50)}, false));
    CHECK_THAT(!fits.failure.failed, name + ": " + fits.failure.message);
    CHECK(fits.tokens[0].size() == 50);
  }
}

}  // namespace
}  // namespace komt::test
