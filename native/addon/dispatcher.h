#pragma once
#include <napi.h>

#include <atomic>
#include <functional>
#include <memory>

namespace komt::addon {

/// Carries closures from the engine's threads to the JavaScript thread of one environment: a single
/// thread-safe function that keeps the process alive only while somebody waits for an answer.
class Dispatcher {
 public:
  using Closure = std::function<void(Napi::Env)>;

  explicit Dispatcher(Napi::Env env);
  /// Any thread. Dropped silently when the environment is going away.
  void post(Closure closure);
  /// JavaScript thread: one more, or one less, that waits.
  void hold(Napi::Env env);
  void release_hold(Napi::Env env);
  /// JavaScript thread, once, when no thread will post any more.
  void close();

 private:
  static void call_js(Napi::Env env, Napi::Function, std::nullptr_t*, Closure* closure);
  using Function = Napi::TypedThreadSafeFunction<std::nullptr_t, Closure, call_js>;

  Function function_;
  int holds_ = 0;
  std::atomic<bool> closed_{false};
};

}  // namespace komt::addon
