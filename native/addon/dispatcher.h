#pragma once
#include <napi.h>

#include <atomic>
#include <memory>

namespace komt::addon {

/// Something for the JavaScript thread to do, made ready beforehand.
class Message {
 public:
  virtual ~Message() = default;
  virtual void run(Napi::Env env) = 0;
};

/// Carries messages from the engine's threads to the JavaScript thread of one environment: a single
/// thread-safe function that keeps the process alive only while somebody waits for an answer.
class Dispatcher {
 public:
  explicit Dispatcher(Napi::Env env);
  /// Any thread; allocates nothing. Dropped silently when the environment is going away.
  void post(std::unique_ptr<Message> message) noexcept;
  /// JavaScript thread: one more, or one less, that waits.
  void hold(Napi::Env env);
  void release_hold(Napi::Env env);
  /// JavaScript thread, once, when no thread will post any more.
  void close() noexcept;

 private:
  static void call_js(Napi::Env env, Napi::Function, std::nullptr_t*, Message* message);
  using Function = Napi::TypedThreadSafeFunction<std::nullptr_t, Message, call_js>;

  Function function_;
  int holds_ = 0;
  std::atomic<bool> closed_{false};
};

}  // namespace komt::addon
