#pragma once
#include <napi.h>

#include <memory>
#include <string>

#include "kernels/context.h"

namespace komt::addon::kernels {

/// Element types of device tensors; u8 holds flags.
enum class TensorType { f32, f16, bf16, i32, u8 };
size_t element_size(TensorType type);

/// Device memory with an element type. Dimensions are kept in lib/kernels/device-tensor.ts.
class TensorObject : public Napi::ObjectWrap<TensorObject> {
 public:
  static Napi::Function define(Napi::Env env);
  /// new (device, dtype, element count)
  explicit TensorObject(const Napi::CallbackInfo& info);
  ~TensorObject() override;

  /// Throws `invalid_argument` for what is no tensor of this addon.
  static TensorObject& of(const Napi::Value& value, const char* name);

  TensorType type() const { return type_; }
  /// Number of elements.
  uint64_t count() const { return count_; }
  Allocation& allocation() const { return *allocation_; }

  /// Whether the contents come from a launch, which may not have ended, and not from the host.
  bool written_on_device() const { return written_on_device_; }
  void mark_written() { written_on_device_ = true; }

 private:
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value copy_from(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  void free(Napi::Env env);

  TensorType type_ = TensorType::f32;
  size_t count_ = 0;
  bool written_on_device_ = false;
  std::unique_ptr<Allocation> allocation_;
  int64_t accounted_ = 0;  ///< bytes that the garbage collector knows of
};

}  // namespace komt::addon::kernels
