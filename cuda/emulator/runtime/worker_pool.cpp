#include "emulator/runtime/worker_pool.h"

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

namespace komt::emulator {

namespace {

class WorkerPool {
 public:
  void run(int helpers, const std::function<void()>& work) {
    {
      const std::lock_guard lock(mutex_);
      for (; threads_ < helpers; ++threads_) std::thread([this] { serve(); }).detach();
      work_ = &work;
      wanted_ = helpers;
      busy_ = 0;
    }
    work_arrived_.notify_all();
    work();
    std::unique_lock lock(mutex_);
    // Helpers that haven't woken up by now needn't.
    wanted_ = 0;
    work_done_.wait(lock, [&] { return busy_ == 0; });
  }

 private:
  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      work_arrived_.wait(lock, [&] { return wanted_ > 0; });
      --wanted_;
      ++busy_;
      const auto* work = work_;
      lock.unlock();
      (*work)();
      lock.lock();
      if (--busy_ == 0) work_done_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable work_arrived_;
  std::condition_variable work_done_;
  const std::function<void()>* work_ = nullptr;
  int threads_ = 0;
  int wanted_ = 0;
  int busy_ = 0;
};

}  // namespace

void run_with_helpers(int helpers, const std::function<void()>& work) {
  if (helpers <= 0) {
    work();
    return;
  }
  // Never destroyed: its threads sleep until the process is gone. Grids run one at a time.
  static auto* pool = new WorkerPool;
  pool->run(helpers, work);
}

}  // namespace komt::emulator
