#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace komt::cpu {

/// Fork and join over a fixed set of threads. Work is divided statically, by thread index, so that
/// which thread does what never depends on timing. Between calls the workers spin for some tens of
/// microseconds (the gap between two operations of a step), then sleep.
class ThreadPool {
 public:
  /// `threads` >= 1, the calling thread included.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return int(workers_.size()) + 1; }

  /// Calls body(thread) once for each thread in [0, size()), the caller being thread 0, and returns
  /// when all have finished. The first exception of a body is thrown again here. Not reentrant.
  template <class Body>
  void run(const Body& body) {
    if (workers_.empty()) {
      body(0);
      return;
    }
    dispatch([](const void* b, int thread) { (*static_cast<const Body*>(b))(thread); }, &body);
  }

 private:
  using Task = void (*)(const void* body, int thread);

  void dispatch(Task task, const void* body);
  void work(int thread);
  bool wait_for_task(uint64_t seen);
  void execute(int thread) noexcept;

  std::vector<std::thread> workers_;
  Task task_ = nullptr;
  const void* body_ = nullptr;
  std::atomic<uint64_t> generation_{0};  ///< dispatches so far
  std::atomic<int> running_{0};          ///< workers that have not finished the current task
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

/// The part of [0, count) that belongs to `thread` of `threads`; bounds are multiples of `unit`.
struct Range {
  int64_t begin;
  int64_t end;
};
inline Range share_of(int64_t count, int64_t unit, int thread, int threads) {
  const int64_t units = (count + unit - 1) / unit;
  const int64_t begin = units * thread / threads * unit;
  const int64_t end = units * (thread + 1) / threads * unit;
  return {begin < count ? begin : count, end < count ? end : count};
}

}  // namespace komt::cpu
