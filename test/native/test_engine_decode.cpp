// Decoding on the CPU backend: what a row gets does not depend on its company, and every way to end.
#include <algorithm>
#include <thread>

#include "engine_support.h"

namespace komt::test {
namespace {

/// One engine with the tiny model, and a session.
struct Host {
  explicit Host(int threads = 1, const ModelConfig& config = tiny_config())
      : checkpoint(config) {
    const Failure failure = load(engine, config, checkpoint.sources, cpu_backends(threads));
    if (failure.failed) throw std::runtime_error(failure.message);
    session = engine.open_session();
  }
  TinyCheckpoint checkpoint;
  Engine engine;
  Engine::SessionId session = 0;
};

std::vector<DecodeRow> some_rows() {
  return {row_of(1, random_tokens(5, 1), 12), row_of(2, random_tokens(70, 2), 3),
          row_of(3, random_tokens(1, 3), 20), row_of(4, random_tokens(130, 4), 1)};
}

TEST("engine decode: greedy tokens are the largest logits of a forward over the whole text") {
  Host host;
  create(host.engine, host.session, {1, 2});
  DecodeOptions options;
  options.rows = {row_of(1, random_tokens(30, 1), 50)};
  options.logprobs = true;
  const Decoded out = decode(host.engine, host.session, options);
  CHECK(!out.failure.failed && out.tokens[0].size() == 50 && out.steps == 50);
  // The last token is not in the cache: nobody needed what follows it.
  CHECK(cached_tokens(host.engine, host.session, 1) == 30 + 49);

  std::vector<int32_t> text = random_tokens(30, 1);
  text.insert(text.end(), out.tokens[0].begin(), out.tokens[0].end());
  const Forwarded all = forward(host.engine, host.session, {{2, text}});
  for (size_t i = 0; i < 50; ++i) {
    const float* row = all.logits.data() + (29 + i) * 97;
    const auto best = std::max_element(row, row + 97);
    CHECK_THAT(best - row == out.tokens[0][i], "token " + std::to_string(i));
    double total = 0;
    for (int v = 0; v < 97; ++v) total += std::exp(double(row[v]) - *best);
    CHECK(std::abs(-std::log(total) - out.logprobs[0][i]) < 1e-4);
  }
}

TEST("engine decode: alone, in a batch, and after a prefill in pieces, the tokens are the same") {
  for (const bool sampled : {false, true}) {
    DecodeOptions options;
    options.rows = some_rows();
    options.logprobs = true;
    options.seed = 7;
    if (sampled) options.sampling = lively_sampling();
    Host host;
    create(host.engine, host.session, {1, 2, 3, 4});
    const Decoded together = decode(host.engine, host.session, options);
    CHECK(!together.failure.failed && together.steps == 20);
    for (size_t r = 0; r < 4; ++r) {
      CHECK(int(together.tokens[r].size()) == options.rows[r].max_new_tokens);
      const int handle = 10 + int(r);
      create(host.engine, host.session, {handle});
      DecodeOptions alone = options;
      alone.rows = {options.rows[r]};
      alone.rows[0].sequence = handle;
      // The first half of the prompt goes in beforehand.
      std::vector<int32_t>& prompt = alone.rows[0].tokens;
      const size_t half = prompt.size() / 2;
      if (half > 0) {
        forward(host.engine, host.session, {{handle, {prompt.begin(), prompt.begin() + long(half)}}},
                ForwardJob::Wanted::none);
        prompt.erase(prompt.begin(), prompt.begin() + long(half));
      }
      const Decoded out = decode(host.engine, host.session, alone);
      CHECK_THAT(out.tokens[0] == together.tokens[r] && out.logprobs[0] == together.logprobs[r],
                 "row " + std::to_string(r) + (sampled ? ", sampled" : ", greedy"));
      CHECK(cached_tokens(host.engine, host.session, handle) ==
            cached_tokens(host.engine, host.session, int(r) + 1));
    }
  }
}

TEST("engine decode: prompts longer than a batch of the backend, on two threads") {
  DecodeOptions options;
  options.rows = {row_of(1, random_tokens(600, 1), 4), row_of(2, random_tokens(500, 2), 6),
                  row_of(3, random_tokens(3, 3), 5)};
  Host one(1), two(2);
  create(one.engine, one.session, {1, 2, 3});
  create(two.engine, two.session, {1, 2, 3});
  const Decoded expected = decode(one.engine, one.session, options);
  CHECK(expected.steps == 6 && decode(two.engine, two.session, options) == expected);
}

TEST("engine decode: eos ends its row alone; min_new_tokens keeps it away") {
  Host host;
  create(host.engine, host.session, {1, 2, 3, 4});
  DecodeOptions options;
  options.rows = {row_of(1, random_tokens(20, 1), 12), row_of(2, random_tokens(21, 2), 12)};
  options.sampling = lively_sampling();
  const Decoded free = decode(host.engine, host.session, options);
  const std::vector<int32_t>& first = free.tokens[0];
  const int32_t eos = first[5];
  const auto upto = [&](const std::vector<int32_t>& row) {
    const auto at = std::find(row.begin(), row.end(), eos);
    return std::vector<int32_t>(row.begin(), at == row.end() ? at : at + 1);
  };
  options.rows[0].sequence = 3;
  options.rows[1].sequence = 4;
  options.eos_token_ids = {eos};
  const Decoded cut = decode(host.engine, host.session, options);
  CHECK(cut.tokens[0] == upto(first) && cut.tokens[0].size() <= 6);
  CHECK(cut.tokens[1] == upto(free.tokens[1]));
  CHECK(cached_tokens(host.engine, host.session, 3) == 20 + int(cut.tokens[0].size()) - 1);

  create(host.engine, host.session, {5, 6});
  options.rows[0].sequence = 5;
  options.rows[1].sequence = 6;
  options.min_new_tokens = 10;
  const Decoded late = decode(host.engine, host.session, options);
  for (const auto& row : late.tokens) {
    CHECK(row.size() >= 10 && std::find(row.begin(), row.begin() + 10, eos) == row.begin() + 10);
  }
}

TEST("engine decode: a conversation goes on from its cache, forks from either end") {
  Host host;
  create(host.engine, host.session, {1});
  const std::vector<int32_t> prompt = random_tokens(90, 1);
  DecodeOptions options;
  options.rows = {row_of(1, prompt, 9)};
  const Decoded first = decode(host.engine, host.session, options);
  host.engine.post(host.session, [](Session& s) {
    s.fork(1, 2);
    s.fork(1, 3);
    s.truncate(3, 70);
  });
  // Row 2 goes on; row 3 says the same again from token 70; row 1 stays as it is.
  options.rows = {row_of(2, {first.tokens[0].back()}, 9),
                  row_of(3, {prompt.begin() + 70, prompt.end()}, 18)};
  const Decoded second = decode(host.engine, host.session, options);
  std::vector<int32_t> joined = first.tokens[0];
  joined.insert(joined.end(), second.tokens[0].begin(), second.tokens[0].end());
  CHECK(second.tokens[1] == joined);
  CHECK(cached_tokens(host.engine, host.session, 1) == 98);
  options.rows = {row_of(1, {first.tokens[0].back()}, 9)};
  CHECK(decode(host.engine, host.session, options).tokens[0] == second.tokens[0]);
  host.engine.post(host.session, [](Session& s) {
    for (const int handle : {1, 2, 3}) s.release(handle);
  });
  CHECK(blocks_in_use(host.engine, host.session) == 0);
}

TEST("engine decode: a verdict from another thread ends rows, however late") {
  Host host;
  create(host.engine, host.session, {1, 2, 3, 4});
  DecodeOptions options;
  options.rows = {row_of(1, random_tokens(8, 1), 10), row_of(2, random_tokens(9, 2), 10)};
  const Decoded free = decode(host.engine, host.session, options);

  options.rows[0].sequence = 3;
  options.rows[1].sequence = 4;
  options.ask = true;
  const auto steps = std::make_shared<Mailbox<int>>();
  const Decoding decoding = start_decode(host.engine, host.session, options,
                                         [=](const DecodeStep& step, DecodeJob&) { steps->put(step.step); });
  const auto job = decoding.made->get();
  bool in_order = true;
  for (int i = 0; i < 7; ++i) {
    in_order = in_order && steps->get() == i;
    // Long enough for the engine to have fallen asleep.
    if (i % 3 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    job->verdict({i >= 2, i >= 6});
    host.engine.wake();
  }
  const Decoded out = decoding.get();
  CHECK(in_order && out.steps == 7 && !out.failure.failed);
  CHECK(out.tokens[0] == std::vector<int32_t>(free.tokens[0].begin(), free.tokens[0].begin() + 3));
  CHECK(out.tokens[1] == std::vector<int32_t>(free.tokens[1].begin(), free.tokens[1].begin() + 7));
  CHECK(cached_tokens(host.engine, host.session, 3) == 8 + 2);
  CHECK(cached_tokens(host.engine, host.session, 4) == 9 + 6);
  // Nobody listens any more.
  job->verdict({true, true});
  host.engine.wake();
}

TEST("engine decode: a verdict given inside the step's callback; without rows to end") {
  Host host;
  create(host.engine, host.session, {1, 2});
  DecodeOptions options;
  options.rows = {row_of(1, random_tokens(8, 1), 10)};
  const Decoded free = decode(host.engine, host.session, options);
  options.rows[0].sequence = 2;
  options.ask = true;
  const Decoded asked = decode(host.engine, host.session, options,
                               [](const DecodeStep&, DecodeJob& job) { job.verdict({}); });
  CHECK(asked == free);
}

TEST("engine decode: cancelled in the prefill, the cache is as before") {
  Host host;
  create(host.engine, host.session, {1, 2});
  forward(host.engine, host.session, {{1, random_tokens(40, 1)}}, ForwardJob::Wanted::none);
  DecodeOptions options;
  options.rows = {row_of(1, random_tokens(1200, 2), 4), row_of(2, random_tokens(700, 3), 4)};
  // Two pieces of the prefill at most can have run when the job hears of it.
  Mailbox<Decoded> result;
  host.engine.post_job(
      host.session,
      [&](Session& s) {
        auto job = std::make_shared<DecodeJob>(s, options, [](const DecodeStep&) {},
                                               [&](std::exception_ptr error) {
                                                 result.put({{}, {}, 0, Failure::of(error)});
                                               });
        job->advance();
        job->cancel();
        return job;
      },
      [&](std::exception_ptr error) { result.put({{}, {}, 0, Failure::of(error)}); });
  CHECK(result.get().failure.is(ErrorKind::aborted));
  CHECK(cached_tokens(host.engine, host.session, 1) == 40);
  CHECK(cached_tokens(host.engine, host.session, 2) == 0);
  CHECK(blocks_in_use(host.engine, host.session) == 1);
}

TEST("engine decode: cancelled while it decodes, the cache holds what was delivered") {
  for (const bool ask : {false, true}) {
    Host host;
    create(host.engine, host.session, {1});
    DecodeOptions options;
    options.rows = {row_of(1, random_tokens(40, 1), 1500)};
    options.ask = ask;
    const auto third = std::make_shared<Mailbox<int>>();
    const Decoding decoding =
        start_decode(host.engine, host.session, options, [=](const DecodeStep& step, DecodeJob& job) {
          if (step.step == 3) third->put(0);
          if (step.step < 3 || !ask) job.verdict({});
        });
    const auto job = decoding.made->get();
    third->get();
    job->cancel();
    host.engine.wake();
    const Decoded out = decoding.get();
    CHECK(out.failure.is(ErrorKind::aborted) && out.steps >= 4);
    if (ask) CHECK(out.steps == 4);
    CHECK(cached_tokens(host.engine, host.session, 1) == 40 + out.steps - 1);
  }
}

TEST("engine decode: what cannot be made or does not fit is refused, the next job runs") {
  Host host;
  create(host.engine, host.session, {1, 2});
  const auto refused = [&](DecodeRow row) {
    DecodeOptions options;
    options.rows = {std::move(row)};
    return decode(host.engine, host.session, options).failure.is(ErrorKind::invalid_argument);
  };
  CHECK(refused(row_of(1, {1, 2}, 0)));
  CHECK(refused(row_of(1, {}, 3)));
  CHECK(refused(row_of(1, {97}, 3)));
  CHECK(refused(row_of(1, {-1}, 3)));
  CHECK(refused(row_of(9, {1}, 3)));
  DecodeOptions twice;
  twice.rows = {row_of(1, {1}, 3), row_of(1, {2}, 3)};
  CHECK(decode(host.engine, host.session, twice).failure.is(ErrorKind::invalid_argument));

  // An action's error is told by the job that follows it, once.
  host.engine.post(host.session, [](Session& s) { s.truncate(9, 1); });
  DecodeOptions options;
  options.rows = {row_of(1, random_tokens(5, 1), 3)};
  CHECK(decode(host.engine, host.session, options).failure.is(ErrorKind::invalid_argument));
  CHECK(decode(host.engine, host.session, options).tokens[0].size() == 3);
}

TEST("engine decode: handles are made once") {
  Host host;
  create(host.engine, host.session, {1, 2});
  forward(host.engine, host.session, {{1, random_tokens(70, 1)}}, ForwardJob::Wanted::none);
  const auto refuses = [&](const std::function<void(Session&)>& action) {
    return ask_session(host.engine, host.session, [&](Session& s) {
      try {
        action(s);
        return 0;
      } catch (const Error& e) {
        return int(e.kind() == ErrorKind::invalid_argument);
      }
    });
  };
  CHECK(refuses([](Session& s) { s.fork(1, 2); }));
  CHECK(refuses([](Session& s) { s.create(1); }));
  CHECK(refuses([](Session& s) { s.fork(3, 4); }));
  CHECK(refuses([](Session& s) { s.release(3); }));
  host.engine.post(host.session, [](Session& s) { s.release(1); });
  CHECK(blocks_in_use(host.engine, host.session) == 0);
}

TEST("engine decode: lengths, rows and counts that are none are refused, and change nothing") {
  const TinyCheckpoint checkpoint;
  Engine engine;
  CHECK(!load(engine, checkpoint.config, checkpoint.sources).failed);
  const auto session = engine.open_session();
  create(engine, session, {1});
  const auto tokens = random_tokens(18, 3);
  CHECK(!forward(engine, session, {{1, tokens}}).failure.failed);
  // What an action throws, the next job reports.
  for (const int length : {-1, -5, INT32_MIN}) {
    engine.post(session, [=](Session& s) { s.truncate(1, length); });
    const Failure failure = forward(engine, session, {{1, {1}}}).failure;
    CHECK(failure.is(ErrorKind::invalid_argument));
    CHECK_THAT(failure.message.find("expected 0 or more") != std::string::npos, failure.message);
  }
  engine.post(session, [](Session& s) { s.truncate(1, INT32_MAX); });  // keeps all there are
  CHECK(cached_tokens(engine, session, 1) == 18);
  for (const int handle : {0, -1, 7, INT32_MIN}) {
    engine.post(session, [=](Session& s) { s.truncate(handle, 0); });
    CHECK(forward(engine, session, {{1, {1}}}).failure.is(ErrorKind::invalid_argument));
    engine.post(session, [=](Session& s) { s.fork(handle, 9); });
    CHECK(forward(engine, session, {{1, {1}}}).failure.is(ErrorKind::invalid_argument));
  }
  using Rows = std::vector<ChunkedForward::Row>;
  for (const Rows& rows : {Rows{}, Rows{{1, {}}}, Rows{{1, {-1}}}, Rows{{1, {97}}}, Rows{{5, {1}}},
                           Rows{{1, {1}}, {1, {2}}}}) {
    CHECK(forward(engine, session, rows).failure.is(ErrorKind::invalid_argument));
  }
  DecodeOptions none;
  CHECK(decode(engine, session, none).failure.is(ErrorKind::invalid_argument));
  CHECK(cached_tokens(engine, session, 1) == 18 && blocks_in_use(engine, session) == 1);
  CHECK(!forward(engine, session, {{1, {1}}}).failure.failed);
}

TEST("engine decode: more rows than a quadratic check could look at") {
  const TinyCheckpoint checkpoint;
  Engine engine;
  CHECK(!load(engine, checkpoint.config, checkpoint.sources).failed);
  const auto session = engine.open_session();
  constexpr int kRows = 100'000;
  std::vector<ChunkedForward::Row> rows;
  engine.post(session, [](Session& s) {
    for (int i = 0; i < kRows; ++i) s.create(i);
  });
  for (int i = 0; i < kRows; ++i) rows.push_back({i, {1}});
  rows.push_back({kRows / 2, {1}});
  const auto start = std::chrono::steady_clock::now();
  CHECK(forward(engine, session, rows).failure.is(ErrorKind::invalid_argument));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
}

TEST("engine decode: forward gives the logits and hidden states asked for, and takes back a failure") {
  Host host;
  create(host.engine, host.session, {1, 2, 3});
  const std::vector<int32_t> a = random_tokens(600, 1), b = random_tokens(9, 2);
  const Forwarded all =
      forward(host.engine, host.session, {{1, a}, {2, b}}, ForwardJob::Wanted::all, true);
  CHECK(all.logits.size() == 609 * 97 && all.hidden.size() == 609 * 32);
  host.engine.post(host.session, [](Session& s) {
    s.truncate(1, 0);
    s.truncate(2, 4);
  });
  const Forwarded last = forward(host.engine, host.session, {{1, a}, {2, {b.begin() + 4, b.end()}}},
                                 ForwardJob::Wanted::last, true);
  const auto at = [](const std::vector<float>& v, size_t row, size_t cols) {
    return std::vector<float>(v.begin() + long(row * cols), v.begin() + long((row + 1) * cols));
  };
  CHECK(last.logits.size() == 2 * 97);
  CHECK(at(last.logits, 0, 97) == at(all.logits, 599, 97));
  CHECK(at(last.logits, 1, 97) == at(all.logits, 608, 97));
  CHECK(at(last.hidden, 0, 32) == at(all.hidden, 599, 32));
  CHECK(at(last.hidden, 1, 32) == at(all.hidden, 608, 32));
}

}  // namespace
}  // namespace komt::test
