#pragma once
#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "dispatcher.h"
#include "engine/decode.h"
#include "engine/engine.h"

namespace komt::addon {

/// An engine in its JavaScript environment: the calls that wait for it, the way its answers take, and its
/// end. It outlives the object that users hold: when that is disposed or collected, the engine's thread
/// is told to stop, and the host goes when it has, without anybody waiting. Used on the JavaScript
/// thread, except where said.
class EngineHost : public std::enable_shared_from_this<EngineHost> {
 public:
  /// Throws out_of_memory where there is no thread to be had.
  static std::shared_ptr<EngineHost> create(Napi::Env env);
  ~EngineHost();
  EngineHost(const EngineHost&) = delete;
  EngineHost& operator=(const EngineHost&) = delete;

  /// Throws `disposed` once it is gone.
  Engine& engine();
  /// Null once it is gone.
  Engine* engine_if_alive() { return engine_.get(); }

  /// What an answer brings.
  enum class Gives { nothing, forward, loaded, end };

 private:
  struct Reply;
  struct Slot {
    std::shared_ptr<Dispatcher> dispatcher;
    std::unique_ptr<Reply> reply;
  };

 public:
  /// Answers a call. Any thread, once, without allocating: it also says that there is no memory.
  class Answer {
   public:
    void operator()(std::exception_ptr error, ForwardJob::Result result = {}) const noexcept;

   private:
    friend class EngineHost;
    std::shared_ptr<Slot> slot_;
  };

  /// The way to a call's job, which is made later and on the engine's thread.
  class JobHandle {
   public:
    /// Engine's thread.
    void attach(const std::shared_ptr<Job>& made);
    void attach(const std::shared_ptr<DecodeJob>& made);
    void cancel();
    /// A flag a row; nothing where the job has ended.
    void verdict(std::vector<bool> stop);

   private:
    std::mutex mutex_;
    std::weak_ptr<Job> job_;
    std::weak_ptr<DecodeJob> decode_;
    bool cancelled_ = false;
  };

  /// A call under way. Taken back when it goes out of scope before commit().
  class Call {
   public:
    Call(EngineHost& host, uint32_t id) : host_(host), id_(id) {}
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    uint32_t id() const { return id_; }
    const std::shared_ptr<JobHandle>& job() const;
    Answer answer(Gives gives, uint64_t bytes = 0) const;
    /// Any thread: calls the call's on_step with `arguments(env)`. Throws std::bad_alloc.
    using Arguments = std::function<std::vector<napi_value>(Napi::Env)>;
    std::function<void(Arguments)> steps() const;
    uint32_t commit();

   private:
    EngineHost& host_;
    uint32_t id_;
    bool committed_ = false;
  };
  /// Until its answer, the process and `object` stay alive. `rows` of a decode call, else 0.
  Call begin(Napi::Object object, Napi::Function on_done, Napi::Value on_step, size_t rows = 0);

  /// Null where the call has been answered.
  JobHandle* job(uint32_t call);
  /// Rows of a decode call; 0 for others and those that have been answered.
  size_t rows(uint32_t call) const;

  /// Nobody holds the engine any more: has it stop, and does not wait.
  void retire() noexcept;

 private:
  struct Reap;
  struct Step;
  struct Pending {
    Napi::ObjectReference object;
    Napi::FunctionReference on_step;
    Napi::FunctionReference on_done;
    std::shared_ptr<JobHandle> job;
    size_t rows = 0;
    Gives gives = Gives::nothing;
  };

  explicit EngineHost(Napi::Env env);
  void finish(Napi::Env env, Reply& reply);
  void drop(uint32_t id);
  /// The engine's thread has released everything.
  void reap(Napi::Env env);
  static void clean_up(void* self);
  /// Tells the garbage collector of memory it cannot see.
  void account(Napi::Env env, int64_t bytes);

  napi_env env_;
  std::shared_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<Message> reap_;
  std::unordered_map<uint32_t, Pending> pending_;
  uint32_t next_id_ = 1;
  int64_t accounted_ = 0;
  std::shared_ptr<EngineHost> self_;  ///< until the engine's end
  std::unique_ptr<Engine> engine_;
};

}  // namespace komt::addon
