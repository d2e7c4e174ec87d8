// Every allocation and every thread start of the engine fails once: each time the caller gets an
// out-of-memory error, or the work goes on with less and gives the same; the thread never ends the
// process, and the leak check at exit finds nothing.
#include <new>
#include <optional>

#include "engine_support.h"
#include "faults.h"

namespace komt::test {
namespace {

/// What became of one step of the scenario.
struct Result {
  bool failed = false;
  bool typed = true;
  std::vector<float> logits;
  std::vector<int32_t> tokens;
};

Result result_of(const std::exception_ptr& error) {
  Result result;
  if (!error) return result;
  result.failed = true;
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    result.typed = e.kind() == ErrorKind::out_of_memory;
  } catch (const std::bad_alloc&) {
  } catch (...) {
    result.typed = false;
  }
  return result;
}

/// One run of all that an engine does. Stops at the first failure; the engine is disposed in any case.
class Scenario {
 public:
  Scenario(const TinyCheckpoint& checkpoint, const Engine::BackendFactory& backends)
      : checkpoint_(checkpoint), backends_(backends) {}

  Result run() {
    const Exempt exempt;
    Result result;
    std::optional<Engine> engine;
    if (attempt(result, [&] { engine.emplace(); })) steps(*engine, result);
    if (engine) {
      // After a failure as well: whatever it left is taken back without memory.
      const Exposed exposed;
      engine->dispose();
    }
    return result;
  }

 private:
  /// Calls into the engine; false where that threw.
  template <class F>
  bool attempt(Result& result, const F& call) {
    try {
      const Exposed exposed;
      call();
    } catch (...) {
      result = result_of(std::current_exception());
    }
    return !result.failed;
  }

  void steps(Engine& engine, Result& result) {
    Mailbox<Result> answer;
    const auto answered = [&](std::exception_ptr error) {
      const Exempt exempt;
      answer.put(result_of(error));
    };
    const auto wait = [&] {
      Result got = answer.get();
      if (!got.failed) return true;
      result = got;
      return false;
    };
    LoadRequest request{checkpoint_.config, checkpoint_.sources, 2};
    if (!attempt(result, [&] {
          engine.load(std::move(request), backends_, even_placer(checkpoint_.config.num_hidden_layers),
                      [](const LoadProgress&) {}, answered);
        }) ||
        !wait()) {
      return;
    }
    Engine::SessionId session = 0;
    if (!attempt(result, [&] { session = engine.open_session(); })) return;
    if (!attempt(result, [&] { engine.post(session, [](Session& s) { s.create(1); }); })) return;

    std::vector<float> logits;
    const ChunkedForward::Row row{1, random_tokens(70, 3)};
    const auto forwarded = [&](std::exception_ptr error, ForwardJob::Result r) {
      const Exempt exempt;
      logits = std::move(r.logits);
      answer.put(result_of(error));
    };
    if (!attempt(result, [&] {
          engine.post_job(
              session,
              [row, forwarded](Session& s) {
                return std::make_shared<ForwardJob>(
                    s, std::vector<ChunkedForward::Row>{row},
                    std::vector<ForwardJob::Wanted>{ForwardJob::Wanted::all}, true, forwarded);
              },
              answered);
        }) ||
        !wait()) {
      return;
    }
    // The fork shares a half-filled page, which the decode has to copy.
    if (!attempt(result, [&] {
          engine.post(session, [](Session& s) { s.fork(1, 2); });
          engine.post(session, [](Session& s) { s.truncate(1, 66); });
        })) {
      return;
    }
    DecodeOptions options;
    options.rows = {row_of(1, random_tokens(3, 4), 6), row_of(2, random_tokens(5, 5), 4)};
    options.sampling = lively_sampling();
    options.logprobs = true;
    std::vector<int32_t> tokens;
    const auto on_step = [&](const DecodeStep& step) {
      const Exempt exempt;
      tokens.insert(tokens.end(), step.tokens.begin(), step.tokens.end());
    };
    if (!attempt(result, [&] {
          engine.post_job(
              session,
              [options, on_step, answered](Session& s) {
                return std::make_shared<DecodeJob>(s, options, on_step, answered);
              },
              answered);
        }) ||
        !wait()) {
      return;
    }
    if (!attempt(result, [&] { engine.post(session, [](Session& s) { s.release(2); }); })) return;
    result.logits = logits;
    result.tokens = tokens;
  }

  const TinyCheckpoint& checkpoint_;
  const Engine::BackendFactory& backends_;
};

/// Lets the n-th one fail, for every n that there is.
void fail_each(Fault fault, const char* what) {
  const TinyCheckpoint checkpoint;
  uint64_t injected = 0;
  uint64_t reported = 0;
  for (const Engine::BackendFactory& backends :
       {cpu_backends(2), cpu_backends(1, 2)}) {  // threads; a split model
    Scenario scenario(checkpoint, backends);
    inject(fault, 0);
    const Result whole = scenario.run();
    CHECK(!whole.failed && !whole.logits.empty() && !whole.tokens.empty());
    for (uint64_t n = 1;; ++n) {
      inject(fault, n);
      const Result result = scenario.run();
      const uint64_t seen = inject(fault, 0);
      if (seen < n) break;
      ++injected;
      CHECK_THAT(result.typed, std::string("an untyped error at ") + what + " " + std::to_string(n));
      if (result.failed) {
        ++reported;
      } else {
        CHECK_THAT(result.logits == whole.logits && result.tokens == whole.tokens,
                   std::string("another result at ") + what + " " + std::to_string(n));
      }
    }
  }
  CHECK(injected > 0 && reported > 0);
  std::printf("faults injected: %llu (%s), %llu reported, the rest done without\n",
              static_cast<unsigned long long>(injected), what,
              static_cast<unsigned long long>(reported));
}

TEST("engine faults: any allocation may fail") { fail_each(Fault::allocation, "allocation"); }

TEST("engine faults: any thread may fail to start") {
#if defined(__linux__)
  fail_each(Fault::thread_start, "thread start");
#else
  outcome().skipped = "thread starts are failed on Linux only";
#endif
}

}  // namespace
}  // namespace komt::test
