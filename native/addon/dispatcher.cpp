#include "dispatcher.h"

namespace komt::addon {

Dispatcher::Dispatcher(Napi::Env env)
    : function_(Function::New(env, "komt", 0, 1)) {
  function_.Unref(env);
}

void Dispatcher::post(Closure closure) {
  if (closed_) return;
  auto boxed = std::make_unique<Closure>(std::move(closure));
  if (function_.NonBlockingCall(boxed.get()) == napi_ok) boxed.release();
}

void Dispatcher::hold(Napi::Env env) {
  if (holds_++ == 0 && !closed_) function_.Ref(env);
}

void Dispatcher::release_hold(Napi::Env env) {
  if (--holds_ == 0 && !closed_) function_.Unref(env);
}

void Dispatcher::close() {
  if (!closed_.exchange(true)) function_.Abort();
}

void Dispatcher::call_js(Napi::Env env, Napi::Function, std::nullptr_t*, Closure* closure) {
  const std::unique_ptr<Closure> owned(closure);
  // A null environment means tear-down; nothing may escape from here in any case.
  if (static_cast<napi_env>(env) == nullptr) return;
  try {
    Napi::HandleScope scope(env);
    (*owned)(env);
  } catch (...) {
  }
}

}  // namespace komt::addon
