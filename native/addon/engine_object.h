#pragma once
#include <napi.h>

#include <memory>
#include <mutex>
#include <unordered_map>

#include "dispatcher.h"
#include "engine/engine.h"

namespace komt::addon {

/// The JavaScript face of an Engine. Its methods are documented where they are called, in
/// lib/native/addon.ts; this class only carries types across.
class EngineObject : public Napi::ObjectWrap<EngineObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit EngineObject(const Napi::CallbackInfo& info);
  ~EngineObject() override;

 private:
  /// The way to a call's job, which is made later and on another thread.
  struct JobHandle {
    std::mutex mutex;
    std::weak_ptr<Job> job;
    bool cancelled = false;
    void attach(const std::shared_ptr<Job>& made);
    void cancel();
  };
  /// A call that waits for its answer. Its functions belong to the JavaScript thread.
  struct Pending {
    Napi::FunctionReference on_step;
    Napi::FunctionReference on_done;
    std::shared_ptr<JobHandle> job;
  };
  /// What closures under way refer to; outlives the object. JavaScript thread only.
  struct State {
    std::unordered_map<uint32_t, Pending> pending;
    uint32_t next_id = 1;
    EngineObject* owner = nullptr;  ///< null once the object is gone
  };

  Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value cancel_load(const Napi::CallbackInfo& info);
  Napi::Value open_session(const Napi::CallbackInfo& info);
  Napi::Value close_session(const Napi::CallbackInfo& info);
  Napi::Value create(const Napi::CallbackInfo& info);
  Napi::Value fork(const Napi::CallbackInfo& info);
  Napi::Value truncate(const Napi::CallbackInfo& info);
  Napi::Value release(const Napi::CallbackInfo& info);
  Napi::Value forward(const Napi::CallbackInfo& info);
  Napi::Value decode(const Napi::CallbackInfo& info);
  Napi::Value verdict(const Napi::CallbackInfo& info);
  Napi::Value cancel(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  using Answer = std::function<void(std::exception_ptr error, std::function<Napi::Value(Napi::Env)>)>;
  /// Has the engine's thread run `action` on session info[0]; nothing once the engine is gone.
  Napi::Value post(const Napi::CallbackInfo& info, std::function<void(Session&)> action);
  /// Registers a call; until its answer the process and this object stay alive.
  uint32_t begin(Napi::Env env, Napi::Value on_done, Napi::Value on_step);
  /// The function that answers call `id`, from any thread.
  Answer answer(uint32_t id);
  /// Stops and joins the engine's thread; from then on nothing is posted to this environment.
  void shut_down();
  static void clean_up(void* self);

  std::shared_ptr<State> state_;
  std::shared_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<Engine> engine_;
  napi_env env_;
};

}  // namespace komt::addon
