#pragma once
#include <napi.h>

#include <memory>
#include <string>

#include "kernels/context.h"

namespace komt::addon::kernels {

/// Element types of device tensors; u8 holds flags.
enum class TensorType { f32, f16, bf16, i32, u8 };

/// Device memory with an element type. Dimensions are kept in lib/kernels/device-tensor.ts.
class TensorObject : public Napi::ObjectWrap<TensorObject> {
 public:
  static Napi::Function define(Napi::Env env);
  /// new (device, dtype, element count)
  explicit TensorObject(const Napi::CallbackInfo& info);

  TensorType type() const { return type_; }
  Allocation& allocation() const { return *allocation_; }

  /// Whether the contents come from a launch, which may not have ended, and not from the host.
  bool written_on_device() const { return written_on_device_; }
  void mark_written() { written_on_device_ = true; }

 private:
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value copy_from(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  TensorType type_;
  size_t count_;
  bool written_on_device_ = false;
  std::unique_ptr<Allocation> allocation_;
};

}  // namespace komt::addon::kernels
