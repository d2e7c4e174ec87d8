#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/job.h"
#include "engine/model.h"
#include "engine/session.h"

namespace komt {

struct LoadRequest {
  ModelConfig config;
  std::vector<WeightSource> sources;
  int reader_threads = 1;
};

/// One model, the thread that runs it, and the sessions that share it. A session's work is done in the
/// order it was posted; sessions take turns, a step each. Every public method may be called from any
/// thread and returns at once; callbacks come on the engine's thread and must not block.
class Engine {
 public:
  /// The backends are created on the engine's thread by `backends`, used and destroyed there.
  using BackendFactory = std::function<std::vector<std::unique_ptr<Backend>>()>;
  /// How the layers are laid over the created backends.
  using Placer = std::function<std::vector<Placement>(const std::vector<std::unique_ptr<Backend>>&)>;

  /// `released`, if given, is the last thing the engine's thread calls. Throws out_of_memory where the
  /// system has no thread to give.
  explicit Engine(std::function<void()> released = nullptr);
  /// Ends all work with `disposed` errors and joins the thread.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  using Loaded = std::function<void(std::exception_ptr error)>;
  /// Once per engine: throws invalid_argument then. `progress` comes from reading threads.
  void load(LoadRequest request, BackendFactory backends, Placer placer,
            std::function<void(const LoadProgress&)> progress, Loaded done);
  void cancel_load() { load_cancelled_ = true; }

  using SessionId = uint32_t;
  SessionId open_session();
  /// Cancels the session's work and releases its sequences.
  void close_session(SessionId id);
  /// Work on the session's sequences, in order with its jobs. An exception ends up in the next job.
  /// False, and nothing is done, where the session is closed.
  bool post(SessionId id, std::function<void(Session&)> action);
  /// A job made and run on the engine's thread once everything posted before is done. Where the
  /// making throws (or the session is closed before), `failed` gets the error.
  void post_job(SessionId id, std::function<std::shared_ptr<Job>(Session&)> make,
                std::function<void(std::exception_ptr)> failed);
  /// Has waiting jobs looked at again: call after verdict() or cancel().
  void wake();

  /// Has the thread end all work (with `disposed` errors) and release model and backends; later posts
  /// fail. Returns at once; `stopped`, if given, is called on the engine's thread when all is released.
  void stop(std::function<void()> stopped = nullptr);
  /// stop(), and waits for it.
  void dispose();

 private:
  struct Task {
    std::function<void(Session&)> action;
    std::function<std::shared_ptr<Job>(Session&)> make;
    std::function<void(std::exception_ptr)> failed;
  };
  struct SessionState {
    SessionId id = 0;
    std::unique_ptr<Session> session;
    /// Guarded by mutex_. A list: an empty one allocates nothing, so that sessions end without memory.
    std::list<Task> tasks;
    bool closing = false;    ///< guarded by mutex_
    std::shared_ptr<Job> job;
    std::exception_ptr pending_error;
  };

  // What the thread does between jobs allocates nothing that it could not do without: an allocation
  // that fails ends a job, never the thread.
  void run() noexcept;
  bool turn(SessionState& state) noexcept;
  void end_session(SessionState& state, const char* why) noexcept;
  void tear_down() noexcept;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<uint64_t> signals_{0};
  std::vector<std::shared_ptr<SessionState>> sessions_;  ///< guarded by mutex_
  std::function<void()> load_;                           ///< guarded by mutex_
  std::atomic<bool> load_cancelled_{false};
  bool loads_ = false;     ///< guarded by mutex_
  bool stopping_ = false;  ///< guarded by mutex_
  bool released_ = false;  ///< guarded by mutex_
  std::vector<std::function<void()>> stopped_;  ///< guarded by mutex_
  SessionId next_id_ = 1;  ///< guarded by mutex_

  std::vector<std::unique_ptr<Backend>> backends_;  ///< engine thread only
  std::unique_ptr<Model> model_;                    ///< engine thread only
  std::function<void()> on_released_;
  std::mutex join_mutex_;
  std::thread thread_;
};

}  // namespace komt
