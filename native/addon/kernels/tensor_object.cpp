#include "kernels/tensor_object.h"

#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
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

bool is_half(TensorType type) { return type == TensorType::f16 || type == TensorType::bf16; }

/// Host arrays that elements come from and go to.
napi_typedarray_type array_type(TensorType type) {
  switch (type) {
    case TensorType::i32: return napi_int32_array;
    case TensorType::u8: return napi_uint8_array;
    default: return napi_float32_array;
  }
}

/// Elements whose bytes are far below 64 bits; lib/kernels has the same limit.
constexpr int64_t kMaxElements = int64_t(1) << 51;

constexpr napi_type_tag kTag = {0x6b6f6d745f74656e, 0x736f725f6f626a31};

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

size_t element_size(TensorType type) {
  switch (type) {
    case TensorType::f32:
    case TensorType::i32: return 4;
    case TensorType::f16:
    case TensorType::bf16: return 2;
    default: return 1;
  }
}

TensorObject::TensorObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TensorObject>(info) {
  guarded(info.Env(), [&] {
    type_ = tensor_type(string_of(info[1], "dtype"));
    count_ = size_t(integer_of(info[2], "elements", 0, kMaxElements));
    const size_t bytes = count_ * element_size(type_);
    allocation_ = std::make_unique<Allocation>(DeviceObject::of(info[0]).context(), bytes);
    info.This().As<Napi::Object>().TypeTag(&kTag);
    // The collector would let tensors that nobody disposed fill the device.
    accounted_ = int64_t(bytes);
    Napi::MemoryManagement::AdjustExternalMemory(info.Env(), accounted_);
  });
}

TensorObject::~TensorObject() { free(Env()); }

TensorObject& TensorObject::of(const Napi::Value& value, const char* name) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTag)) {
    invalid(name, "a tensor", value);
  }
  return *Unwrap(value.As<Napi::Object>());
}

void TensorObject::free(Napi::Env env) {
  if (allocation_) allocation_->dispose();
  if (accounted_ != 0) {
    int64_t total = 0;
    napi_adjust_external_memory(env, -std::exchange(accounted_, 0), &total);
  }
}

// write(values, first): a Float32Array for the floating-point types, rounded to nearest even
Napi::Value TensorObject::write(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Elements values = elements_of(info[0], "values", array_type(type_));
    const size_t count = values.count;
    const size_t first = size_t(integer_of(info[1], "first", 0, kMaxElements));
    if (first > count_ || count > count_ - first) {
      throw Error(ErrorKind::invalid_argument, "A write beyond the tensor's end");
    }
    if (count == 0) return info.Env().Undefined();
    allocation_->context().require_no_recording();
    const void* source = values.data;
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
    const Elements target = elements_of(info[0], "target", array_type(type_));
    if (target.count != count_) {
      invalid("target", "an array of " + std::to_string(count_) + " elements", info[0]);
    }
    if (count_ == 0) return info[0];
    allocation_->context().require_no_recording();
    char* out = static_cast<char*>(target.data);
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
    return info[0];
  });
}

// copyFrom(tensor): the same type and number of elements, on the same device
Napi::Value TensorObject::copy_from(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const TensorObject& source = of(info[0], "source");
    if (source.type_ != type_ || source.count_ != count_ ||
        &source.allocation_->context() != &allocation_->context()) {
      throw Error(ErrorKind::invalid_argument,
                  "Expected a tensor of the same type and size, on the same device, to copy from");
    }
    const void* from = source.allocation_->data();
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
  return guarded(info.Env(), [&]() -> Napi::Value {
    allocation_->context().require_no_recording();
    free(info.Env());
    return info.Env().Undefined();
  });
}

}  // namespace komt::addon::kernels
