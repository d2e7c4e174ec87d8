#include "backends/cpu/thread_pool.h"

#include <utility>

#if defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
#include <intrin.h>
#endif

namespace komt::cpu {
namespace {

// About 50 us before a worker sleeps; about 5 us before the caller yields its core, which matters
// when there are more busy threads than cores.
constexpr int kWorkerSpins = 2000;
constexpr int kCallerSpins = 200;

inline void pause_cpu() {
#if defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
  _mm_pause();
#elif defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) && !defined(_MSC_VER)
  __asm__ __volatile__("isb");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  workers_.reserve(size_t(threads > 1 ? threads - 1 : 0));
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  } catch (...) {
    // The system has no more threads, or memory for them, to give: the ones there are do the work.
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(mutex_);
    stopping_.store(true, std::memory_order_release);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::dispatch(Task task, const void* body) {
  task_ = task;
  body_ = body;
  running_.store(int(workers_.size()), std::memory_order_relaxed);
  // Sequentially consistent together with sleepers_: either the sleeper sees the new generation
  // before it waits, or its entry is seen here and it is woken.
  generation_.fetch_add(1, std::memory_order_seq_cst);
  if (sleepers_.load(std::memory_order_seq_cst) > 0) {
    { std::lock_guard lock(mutex_); }
    wake_.notify_all();
  }
  execute(0);
  for (int spins = 0; running_.load(std::memory_order_acquire) != 0; ++spins) {
    if (spins < kCallerSpins) {
      pause_cpu();
    } else {
      std::this_thread::yield();
    }
  }
  if (error_) {
    std::exception_ptr error = std::move(error_);
    error_ = nullptr;
    std::rethrow_exception(error);
  }
}

void ThreadPool::execute(int thread) noexcept {
  try {
    task_(body_, thread);
  } catch (...) {
    std::lock_guard lock(error_mutex_);
    if (!error_) error_ = std::current_exception();
  }
}

bool ThreadPool::wait_for_task(uint64_t seen) {
  for (int spins = 0; spins < kWorkerSpins; ++spins) {
    if (generation_.load(std::memory_order_acquire) != seen) return true;
    if (stopping_.load(std::memory_order_acquire)) return false;
    pause_cpu();
  }
  std::unique_lock lock(mutex_);
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
  wake_.wait(lock, [&] {
    return generation_.load(std::memory_order_seq_cst) != seen ||
           stopping_.load(std::memory_order_acquire);
  });
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
  return generation_.load(std::memory_order_acquire) != seen;
}

void ThreadPool::work(int thread) {
  for (uint64_t seen = 0; wait_for_task(seen);) {
    // The caller dispatches again only when running_ is 0, so exactly one generation has passed.
    ++seen;
    execute(thread);
    running_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace komt::cpu
