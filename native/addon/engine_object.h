#pragma once
#include <napi.h>

#include <memory>

#include "engine_host.h"

namespace komt::addon {

/// The JavaScript face of an Engine. Its methods are documented where they are called, in
/// lib/native/addon.ts; this class only carries types across, and lets no number through that the engine
/// would not expect.
class EngineObject : public Napi::ObjectWrap<EngineObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit EngineObject(const Napi::CallbackInfo& info);
  ~EngineObject() override;

 private:
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

  /// Has the engine's thread run `action` on session info[0].
  Napi::Value post(const Napi::CallbackInfo& info, std::function<void(Session&)> action);

  std::shared_ptr<EngineHost> host_;
};

}  // namespace komt::addon
