// The engine's thread and queues: many callers at once, and ends at every moment. Meant for the thread
// and address sanitizers; what is computed is checked as well.
#include <thread>

#include "engine_deferred_backend.h"
#include "engine_support.h"

namespace komt::test {
namespace {

DecodeOptions long_decode(int handle, int max_new_tokens, uint32_t seed = 1) {
  DecodeOptions options;
  options.rows = {row_of(handle, random_tokens(10, seed), max_new_tokens, seed + 1)};
  options.sampling = lively_sampling();
  return options;
}

/// Both kinds of backend, the second with a thread of its own.
std::vector<Engine::BackendFactory> both_backends() {
  return {cpu_backends(2), deferred_backends({true, false, 512, nullptr})};
}

TEST("engine threads: sessions of several threads get what each gets alone") {
  const TinyCheckpoint checkpoint;
  constexpr int kThreads = 4;
  constexpr int kRounds = 3;
  std::vector<Decoded> expected;
  for (const auto& backends : both_backends()) {
    Engine engine;
    CHECK(!load(engine, checkpoint.config, checkpoint.sources, backends).failed);
    std::vector<std::vector<Decoded>> found(kThreads);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int round = 0; round < kRounds; ++round) {
          const auto session = engine.open_session();
          create(engine, session, {1});
          DecodeOptions options = long_decode(1, 20, uint32_t(t));
          options.ask = round == 1;
          found[size_t(t)].push_back(decode(engine, session, options,
                                            [](const DecodeStep&, DecodeJob& job) { job.verdict({}); }));
          engine.close_session(session);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (int t = 0; t < kThreads; ++t) {
      if (expected.size() <= size_t(t)) expected.push_back(found[size_t(t)][0]);
      for (const Decoded& d : found[size_t(t)]) {
        CHECK(d == expected[size_t(t)] && d.tokens[0].size() == 20);
      }
    }
    // A new session is answered after all closings that were asked for before it.
    CHECK(blocks_in_use(engine, engine.open_session()) == 0);
  }
}

TEST("engine threads: posts of one session are done in order, with its jobs") {
  const TinyCheckpoint checkpoint;
  Engine engine;
  CHECK(!load(engine, checkpoint.config, checkpoint.sources).failed);
  const auto session = engine.open_session();
  create(engine, session, {1});
  std::vector<int> order;
  std::vector<Decoding> decodings;
  for (int i = 0; i < 50; ++i) {
    engine.post(session, [&order, i](Session&) { order.push_back(i); });
    if (i % 10 == 5) {
      decodings.push_back(start_decode(engine, session, long_decode(1, 4),
                                       [&order](const DecodeStep&, DecodeJob&) { order.push_back(-1); }));
    }
  }
  for (const Decoding& d : decodings) CHECK(!d.get().failure.failed);
  ask_session(engine, session, [](Session&) { return 0; });
  std::vector<int> expected;
  for (int i = 0; i < 50; ++i) {
    expected.push_back(i);
    if (i % 10 == 5) expected.insert(expected.end(), 4, -1);
  }
  CHECK(order == expected);
}

TEST("engine threads: closing a session ends its running and waiting jobs, others go on") {
  const TinyCheckpoint checkpoint;
  for (const auto& backends : both_backends()) {
    Engine engine;
    CHECK(!load(engine, checkpoint.config, checkpoint.sources, backends).failed);
    const auto closed = engine.open_session();
    const auto other = engine.open_session();
    create(engine, closed, {1});
    create(engine, other, {1});
    const auto begun = std::make_shared<Mailbox<int>>();
    const Decoding running =
        start_decode(engine, closed, long_decode(1, 1900), [=](const DecodeStep& step, DecodeJob&) {
          if (step.step == 5) begun->put(0);
        });
    const Decoding waiting = start_decode(engine, closed, long_decode(1, 5));
    const Decoding beside = start_decode(engine, other, long_decode(1, 60));
    begun->get();
    engine.close_session(closed);
    CHECK(running.get().failure.is(ErrorKind::disposed));
    CHECK(waiting.get().failure.is(ErrorKind::disposed));
    const Decoded out = beside.get();
    CHECK(!out.failure.failed && out.tokens[0].size() == 60);
    CHECK(blocks_in_use(engine, other) == 2);
    CHECK(decode(engine, closed, long_decode(1, 5)).failure.is(ErrorKind::disposed));
    engine.close_session(closed);
    engine.post(closed, [](Session&) { CHECK_THAT(false, "ran after its session was closed"); });
    CHECK(decode(engine, other, long_decode(1, 5)).tokens[0].size() == 5);
  }
}

TEST("engine threads: disposed while jobs run, every job and every waiter is told once") {
  const TinyCheckpoint checkpoint;
  for (const auto& backends : both_backends()) {
    for (int round = 0; round < 4; ++round) {
      auto engine = std::make_unique<Engine>();
      CHECK(!load(*engine, checkpoint.config, checkpoint.sources, backends).failed);
      std::vector<Decoding> decodings;
      for (int s = 0; s < 3; ++s) {
        const auto session = engine->open_session();
        create(*engine, session, {1});
        for (int j = 0; j < 2; ++j) {
          DecodeOptions options = long_decode(1, 1500, uint32_t(s));
          options.ask = s == 2;  // waits for a verdict that never comes
          decodings.push_back(start_decode(*engine, session, options));
        }
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(round));
      Mailbox<int> stopped;
      if (round % 2) {
        engine->stop([&] { stopped.put(0); });
        engine->stop([&] { stopped.put(0); });
        stopped.get();
        stopped.get();
        // Too late to wait: told at once.
        engine->stop([&] { stopped.put(0); });
        stopped.get();
        CHECK(decode(*engine, engine->open_session(), long_decode(1, 1)).failure.is(ErrorKind::disposed));
      }
      engine.reset();
      for (const Decoding& d : decodings) CHECK(d.get().failure.is(ErrorKind::disposed));
    }
  }
}

TEST("engine threads: everything at once from several threads, then dispose") {
  const TinyCheckpoint checkpoint;
  for (const auto& backends : both_backends()) {
    Engine engine;
    CHECK(!load(engine, checkpoint.config, checkpoint.sources, backends).failed);
    std::atomic<int> answers{0};
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    constexpr int kThreads = 3;
    constexpr int kRounds = 15;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        Random random{uint32_t(t)};
        for (int round = 0; round < kRounds; ++round) {
          const auto session = engine.open_session();
          create(engine, session, {1, 2});
          DecodeOptions options = long_decode(1, random.integer(1, 12), uint32_t(t));
          options.ask = random.integer(0, 1) == 1;
          const Decoding decoding = start_decode(engine, session, options,
                                                 [](const DecodeStep&, DecodeJob& job) { job.verdict({}); });
          const int what = random.integer(0, 3);
          if (what == 0) {
            const auto job = decoding.made->get();
            job->cancel();
            engine.wake();
          }
          if (what == 1) engine.close_session(session);
          const Decoded out = decoding.get();
          ++answers;
          const bool complete = int(out.tokens[0].size()) == options.rows[0].max_new_tokens;
          const bool allowed = !out.failure.failed             ? complete
                               : out.failure.is(ErrorKind::aborted)  ? what == 0
                               : out.failure.is(ErrorKind::disposed) ? what == 1
                                                                     : false;
          if (!allowed) ++wrong;
          if (what == 2) engine.close_session(session);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(answers == kThreads * kRounds && wrong == 0);
    engine.dispose();
    engine.dispose();
  }
}

TEST("engine threads: an error in making a job is that job's alone") {
  const TinyCheckpoint checkpoint;
  Engine engine;
  CHECK(!load(engine, checkpoint.config, checkpoint.sources).failed);
  const auto session = engine.open_session();
  create(engine, session, {1});
  Mailbox<Failure> told;
  engine.post_job(
      session, [](Session&) -> std::shared_ptr<Job> { throw std::runtime_error("as planned"); },
      [&](std::exception_ptr error) { told.put(Failure::of(error)); });
  const Failure failure = told.get();
  CHECK(failure.failed && failure.message == "as planned");
  CHECK(decode(engine, session, long_decode(1, 3)).tokens[0].size() == 3);
}

}  // namespace
}  // namespace komt::test
