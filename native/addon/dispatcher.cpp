#include "dispatcher.h"

namespace komt::addon {

Dispatcher::Dispatcher(Napi::Env env)
    : function_(Function::New(env, "komt", 0, 1)) {
  function_.Unref(env);
}

void Dispatcher::post(std::unique_ptr<Message> message) noexcept {
  if (closed_) return;
  if (function_.NonBlockingCall(message.get()) == napi_ok) (void)message.release();
}

void Dispatcher::hold(Napi::Env env) {
  if (holds_++ == 0 && !closed_) function_.Ref(env);
}

void Dispatcher::release_hold(Napi::Env env) {
  if (--holds_ == 0 && !closed_) function_.Unref(env);
}

void Dispatcher::close() noexcept {
  if (!closed_.exchange(true)) function_.Abort();
}

void Dispatcher::call_js(Napi::Env env, Napi::Function, std::nullptr_t*, Message* message) {
  const std::unique_ptr<Message> owned(message);
  // A null environment means tear-down.
  if (static_cast<napi_env>(env) == nullptr) return;
  try {
    Napi::HandleScope scope(env);
    owned->run(env);
  } catch (...) {
    // Nothing may escape from here, or the process ends. The functions called are lib/native's, which
    // catch what users' callbacks throw; what is left is a worker being terminated.
  }
}

}  // namespace komt::addon
