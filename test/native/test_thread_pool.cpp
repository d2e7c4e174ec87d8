// The thread pool; meant to be run under the thread sanitizer too.
#include "backends/cpu/thread_pool.h"

#include <chrono>
#include <numeric>
#include <stdexcept>

#include "support.h"

namespace komt::test {
namespace {

using cpu::Range;
using cpu::share_of;
using cpu::ThreadPool;

TEST("thread pool: every thread runs each task once") {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    CHECK(pool.size() == threads);
    // Plain ints: a thread sanitizer sees whether run() orders them.
    std::vector<int> counts(size_t(threads), 0);
    for (int i = 0; i < 300; ++i) {
      pool.run([&](int thread) { ++counts[size_t(thread)]; });
      if (std::accumulate(counts.begin(), counts.end(), 0) != (i + 1) * threads) {
        CHECK_THAT(false, "a task was lost or ran twice");
        return;
      }
    }
    CHECK(counts == std::vector<int>(size_t(threads), 300));
  }
}

TEST("thread pool: workers that went to sleep wake up") {
  ThreadPool pool(3);
  int total = 0;
  for (int i = 0; i < 20; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(i % 4));
    std::vector<int> ran(3, 0);
    pool.run([&](int thread) { ran[size_t(thread)] = 1; });
    total += std::accumulate(ran.begin(), ran.end(), 0);
  }
  CHECK(total == 60);
}

TEST("thread pool: a task's exception reaches the caller, the pool lives on") {
  ThreadPool pool(3);
  for (const int thrower : {0, 2}) {
    bool caught = false;
    try {
      pool.run([&](int thread) {
        if (thread == thrower) throw std::runtime_error("as planned");
      });
    } catch (const std::runtime_error& e) {
      caught = std::string(e.what()) == "as planned";
    }
    CHECK(caught);
    std::vector<int> ran(3, 0);
    pool.run([&](int thread) { ran[size_t(thread)] = 1; });
    CHECK(std::accumulate(ran.begin(), ran.end(), 0) == 3);
  }
}

TEST("thread pool: pools of several callers do not meet, idle ones end at once") {
  std::vector<std::thread> callers;
  std::vector<long> sums(4, 0);
  for (size_t c = 0; c < 4; ++c) {
    callers.emplace_back([&sums, c] {
      ThreadPool pool(2);
      std::vector<long> part(2, 0);
      for (int i = 0; i < 200; ++i) pool.run([&](int thread) { part[size_t(thread)] += i; });
      sums[c] = part[0] + part[1];
    });
  }
  for (std::thread& t : callers) t.join();
  for (const long sum : sums) CHECK(sum == 2 * 199 * 200 / 2);
  for (int i = 0; i < 50; ++i) ThreadPool unused(4);
}

TEST("share_of: shares follow each other and cover everything") {
  for (const int64_t count : {0, 1, 7, 48, 100, 4096}) {
    for (const int64_t unit : {1, 2, 48}) {
      for (const int threads : {1, 2, 3, 7}) {
        int64_t next = 0;
        for (int i = 0; i < threads; ++i) {
          const Range r = share_of(count, unit, i, threads);
          CHECK(r.begin == next && r.end >= r.begin && (r.begin % unit == 0 || r.begin == count));
          next = r.end;
        }
        CHECK(next == count);
      }
    }
  }
}

}  // namespace
}  // namespace komt::test
