#pragma once
#include <napi.h>

#include <exception>
#include <utility>

#include "convert.h"

namespace komt::addon {

/// Runs `body`; a C++ exception becomes the JavaScript exception lib/native/errors.ts understands.
template <class F>
auto guarded(Napi::Env env, F&& body) -> decltype(body()) {
  try {
    return std::forward<F>(body)();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw Napi::Error(env, to_js_error(env, std::current_exception()));
  }
}

}  // namespace komt::addon
