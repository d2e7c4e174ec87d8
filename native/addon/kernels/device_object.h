#pragma once
#include <napi.h>

#include <memory>

#include "kernels/context.h"

namespace komt::addon::kernels {

/// The JavaScript face of a Context; documented in lib/native/kernels.ts.
class DeviceObject : public Napi::ObjectWrap<DeviceObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit DeviceObject(const Napi::CallbackInfo& info);

  /// Throws `invalid_argument` for what is no device of this addon.
  static DeviceObject& of(const Napi::Value& value);

  const std::shared_ptr<Context>& context() const { return context_; }

 private:
  Napi::Value properties(const Napi::CallbackInfo& info);
  Napi::Value synchronize(const Napi::CallbackInfo& info);
  Napi::Value measure(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<Context> context_;
};

}  // namespace komt::addon::kernels
