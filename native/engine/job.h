#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>

namespace komt {

/// Work of a session that the engine thread does in small steps, so that several sessions share it
/// and an abort takes effect within one step. All methods run on the engine thread, except cancel().
class Job {
 public:
  enum class Progress {
    done,     ///< finished; will not be called again
    worked,   ///< did something, has more to do
    waiting,  ///< can do nothing until Engine::wake()
  };
  virtual ~Job() = default;
  /// One step. A throw ends the job; the engine then calls fail().
  virtual Progress advance() = 0;
  /// The job ended by `error` (an abort or dispose included). Called at most once, never after done.
  virtual void fail(std::exception_ptr error) noexcept = 0;

  void cancel() { cancelled_.store(true, std::memory_order_release); }
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }

 private:
  std::atomic<bool> cancelled_{false};
};

}  // namespace komt
