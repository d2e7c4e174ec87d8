#include "kernels/tensor_object.h"

#include <vector>

#include "engine/dtype.h"
#include "engine/error.h"
#include "guarded.h"
#include "kernels/device_object.h"

namespace komt::addon::kernels {

using cuda::check;

namespace {

TensorType tensor_type(const std::string& name) {
  if (name == "float32") return TensorType::f32;
  if (name == "float16") return TensorType::f16;
  if (name == "bfloat16") return TensorType::bf16;
  if (name == "int32") return TensorType::i32;
  if (name == "uint8") return TensorType::u8;
  throw Error(ErrorKind::invalid_argument, "Unknown tensor type " + name);
}

size_t element_size(TensorType type) {
  switch (type) {
    case TensorType::f32:
    case TensorType::i32: return 4;
    case TensorType::f16:
    case TensorType::bf16: return 2;
    default: return 1;
  }
}

bool is_half(TensorType type) { return type == TensorType::f16 || type == TensorType::bf16; }

/// Start of a typed array's bytes.
const char* bytes_of(const Napi::TypedArray& array) {
  return static_cast<const char*>(array.ArrayBuffer().Data()) + array.ByteOffset();
}

}  // namespace

Napi::Function TensorObject::define(Napi::Env env) {
  return DefineClass(env, "KernelTensor",
                     {
                         InstanceMethod<&TensorObject::write>("write"),
                         InstanceMethod<&TensorObject::read>("read"),
                         InstanceMethod<&TensorObject::copy_from>("copyFrom"),
                         InstanceMethod<&TensorObject::dispose>("dispose"),
                     });
}

TensorObject::TensorObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TensorObject>(info) {
  guarded(info.Env(), [&] {
    type_ = tensor_type(info[1].As<Napi::String>());
    count_ = size_t(info[2].As<Napi::Number>().Int64Value());
    allocation_ = std::make_unique<Allocation>(
        DeviceObject::Unwrap(info[0].As<Napi::Object>())->context(), count_ * element_size(type_));
  });
}

// write(values, first): a Float32Array for the floating-point types, rounded to nearest even
Napi::Value TensorObject::write(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto values = info[0].As<Napi::TypedArray>();
    const size_t count = values.ElementLength();
    const size_t first = size_t(info[1].As<Napi::Number>().Int64Value());
    if (first > count_ || count > count_ - first) {
      throw Error(ErrorKind::invalid_argument, "A write beyond the tensor's end");
    }
    if (count == 0) return info.Env().Undefined();
    const void* source = bytes_of(values);
    std::vector<uint16_t> rounded;
    if (is_half(type_)) {
      const float* in = static_cast<const float*>(source);
      rounded.resize(count);
      for (size_t i = 0; i < count; ++i) {
        rounded[i] = type_ == TensorType::f16 ? float_to_half(in[i]) : float_to_bfloat16(in[i]);
      }
      source = rounded.data();
    }
    const cudaStream_t stream = allocation_->context().stream();
    char* target = allocation_->data() + first * element_size(type_);
    check(cudaMemcpyAsync(target, source, count * element_size(type_), cudaMemcpyHostToDevice,
                          stream),
          "Copying to the device");
    allocation_->context().synchronize();
    written_on_device_ = false;
    return info.Env().Undefined();
  });
}

// read(target): fills a typed array of as many elements, a Float32Array for the floating-point types
Napi::Value TensorObject::read(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    auto target = info[0].As<Napi::TypedArray>();
    if (target.ElementLength() != count_) {
      throw Error(ErrorKind::invalid_argument, "An array of another length than the tensor's");
    }
    if (count_ == 0) return target;
    char* out = const_cast<char*>(bytes_of(target));
    std::vector<uint16_t> raw(is_half(type_) ? count_ : 0);
    void* into = raw.empty() ? static_cast<void*>(out) : raw.data();
    check(cudaMemcpyAsync(into, allocation_->data(), count_ * element_size(type_),
                          cudaMemcpyDeviceToHost, allocation_->context().stream()),
          "Copying from the device");
    allocation_->context().synchronize();
    float* floats = reinterpret_cast<float*>(out);
    for (size_t i = 0; i < raw.size(); ++i) {
      floats[i] = type_ == TensorType::f16 ? half_to_float(raw[i]) : bfloat16_to_float(raw[i]);
    }
    return target;
  });
}

// copyFrom(tensor): the same type and number of elements, on the same device
Napi::Value TensorObject::copy_from(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const TensorObject* source = TensorObject::Unwrap(info[0].As<Napi::Object>());
    if (source->type_ != type_ || source->count_ != count_) {
      throw Error(ErrorKind::invalid_argument, "A copy between tensors of different sizes");
    }
    const void* from = source->allocation_->data();
    char* to = allocation_->data();
    if (count_ > 0) {
      check(cudaMemcpyAsync(to, from, allocation_->bytes(), cudaMemcpyDeviceToDevice,
                            allocation_->context().stream()),
            "Copying on the device");
      mark_written();
    }
    return info.Env().Undefined();
  });
}

Napi::Value TensorObject::dispose(const Napi::CallbackInfo& info) {
  allocation_->dispose();
  return info.Env().Undefined();
}

}  // namespace komt::addon::kernels
