#pragma once
#include <napi.h>

#include <cstdint>

#include "common/element_type.h"
#include "guarded.h"
#include "kernels/tensor_object.h"

namespace komt::addon::kernels {

/// One kernel call from lib/kernels: a device object, and an object with the launcher's arguments by
/// name. Absent tensors are null pointers. Shapes and types were checked, and worded, in JavaScript.
class Call {
 public:
  explicit Call(const Napi::CallbackInfo& info);

  Context& context() const { return *context_; }
  cudaStream_t stream() const { return context_->stream(); }

  /// Throws `invalid_argument` if the tensor lies on another device object.
  void* tensor(const char* name) const;
  template <class T>
  T* tensor(const char* name) const {
    return static_cast<T*>(tensor(name));
  }
  /// A tensor that the launch writes.
  void* output(const char* name) const;
  /// Whether a launch may still be writing the tensor.
  bool written_on_device(const char* name) const;
  /// Element type of a floating-point tensor; throws `invalid_argument` when absent.
  komt::kernels::ElementType type(const char* name) const;
  bool has(const char* name) const;
  int integer(const char* name) const;
  float number(const char* name) const;
  bool flag(const char* name) const;
  uint64_t unsigned64(const char* name) const;
  Call nested(const char* name) const;

 private:
  Call(std::shared_ptr<Context> context, Napi::Object arguments);
  TensorObject* object(const char* name) const;

  std::shared_ptr<Context> context_;
  Napi::Object arguments_;
};

/// A launcher's export: runs `enqueue(call)`, which gives what the launcher returned, on the call's
/// device. `what` words the error.
template <class F>
Napi::Value launch(const Napi::CallbackInfo& info, const char* what, F&& enqueue) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Call call(info);
    const cuda::DeviceScope scope(call.context().device());
    cuda::check(enqueue(call), what);
    return info.Env().Undefined();
  });
}

}  // namespace komt::addon::kernels
