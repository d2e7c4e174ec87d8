#pragma once
#include <napi.h>

#include <cstdint>
#include <initializer_list>

#include "common/element_type.h"
#include "common/kv_page.h"
#include "guarded.h"
#include "kernels/tensor_object.h"

namespace komt::addon::kernels {

/// Types an argument may have.
using Types = std::initializer_list<TensorType>;

/// Elements of a shape; the largest number where that is beyond 64 bits, which no tensor has.
uint64_t elements(std::initializer_list<int64_t> lengths);

/// One kernel call from lib/kernels: a device object, and an object with the launcher's arguments by
/// name. lib/kernels has checked, and worded, shapes and types; here every number is checked to be in
/// range and every tensor to have the elements that a launch with these numbers touches. What cannot be
/// checked on the host is what lies in device memory: lengths, positions and numbers of pages. All
/// readers throw `invalid_argument`.
class Call {
 public:
  explicit Call(const Napi::CallbackInfo& info);

  Context& context() const { return *context_; }
  cudaStream_t stream() const { return context_->stream(); }

  /// A tensor of one of `types`, on this device object, with at least `count` elements.
  void* tensor(const char* name, Types types, uint64_t count) const;
  /// The same, or a null pointer where the argument is absent.
  void* optional(const char* name, Types types, uint64_t count) const;
  template <class T>
  T* tensor(const char* name, Types types, uint64_t count) const {
    return static_cast<T*>(tensor(name, types, count));
  }
  template <class T>
  T* optional(const char* name, Types types, uint64_t count) const {
    return static_cast<T*>(optional(name, types, count));
  }
  /// A tensor that the launch writes.
  void* output(const char* name, Types types, uint64_t count) const;
  /// Whether a launch may still be writing the tensor.
  bool written_on_device(const char* name) const;
  /// Of a tensor that must be there.
  TensorType type(const char* name) const;
  uint64_t count(const char* name) const;
  bool has(const char* name) const;

  int integer(const char* name, int min, int max = INT32_MAX) const;
  /// From `min` to `max`, as a float has it; no NaN.
  float number(const char* name, double min, double max) const;
  bool flag(const char* name) const;
  uint64_t unsigned64(const char* name) const;
  Call nested(const char* name) const;

 private:
  Call(std::shared_ptr<Context> context, Napi::Object arguments);
  TensorObject* object(const char* name) const;
  TensorObject& required(const char* name) const;

  std::shared_ptr<Context> context_;
  Napi::Object arguments_;
};

/// The kernels' name of a floating-point type.
komt::kernels::ElementType element_type(TensorType type);

/// Shape of a paged cache's heads, and its tensors: at least one page of the type. `written`: by the
/// launch.
struct CacheArguments {
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  void* keys = nullptr;
  void* values = nullptr;
};
CacheArguments cache_of(const Call& call, TensorType type, bool written);

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
