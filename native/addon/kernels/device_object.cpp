#include "kernels/device_object.h"

#include "arguments.h"
#include "guarded.h"
#include "kernels/timing.h"

namespace komt::addon::kernels {

namespace {

/// Of a measurement, which the JavaScript thread waits for.
constexpr int64_t kMaxRepeats = 1'000'000;

constexpr napi_type_tag kTag = {0x6b6f6d745f646576, 0x6963655f6f626a31};

}  // namespace

Napi::Function DeviceObject::define(Napi::Env env) {
  return DefineClass(env, "KernelDevice",
                     {
                         InstanceMethod<&DeviceObject::properties>("properties"),
                         InstanceMethod<&DeviceObject::synchronize>("synchronize"),
                         InstanceMethod<&DeviceObject::measure>("measure"),
                         InstanceMethod<&DeviceObject::dispose>("dispose"),
                     });
}

DeviceObject::DeviceObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<DeviceObject>(info),
      context_(guarded(info.Env(), [&] {
        return std::make_shared<Context>(int(integer_of(info[0], "device", 0, INT32_MAX)));
      })) {
  info.This().As<Napi::Object>().TypeTag(&kTag);
}

DeviceObject& DeviceObject::of(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTag)) {
    invalid("device", "a device", value);
  }
  return *Unwrap(value.As<Napi::Object>());
}

Napi::Value DeviceObject::properties(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    cudaDeviceProp p{};
    cuda::check(cudaGetDeviceProperties(&p, context_->device()), "cudaGetDeviceProperties");
    auto object = Napi::Object::New(info.Env());
    object.Set("name", p.name);
    object.Set("computeCapability", std::to_string(p.major) + "." + std::to_string(p.minor));
    object.Set("multiProcessorCount", p.multiProcessorCount);
    int l2_bytes = 0;
    cuda::check(cudaDeviceGetAttribute(&l2_bytes, cudaDevAttrL2CacheSize, context_->device()),
                "cudaDeviceGetAttribute");
    object.Set("l2Bytes", l2_bytes);
    return object;
  });
}

Napi::Value DeviceObject::synchronize(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    context_->synchronize();
    return info.Env().Undefined();
  });
}

// measure(enqueue, repeats): Float64Array of microseconds
Napi::Value DeviceObject::measure(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto enqueue = function_of(info[0], "enqueue");
    const int repeats = int(integer_of(info[1], "repeats", 1, kMaxRepeats));
    const Recording recording(*context_, [&] { enqueue.Call({}); });
    auto times = Napi::Float64Array::New(info.Env(), size_t(repeats));
    for (int i = 0; i < repeats; ++i) times[size_t(i)] = recording.replay();
    return times;
  });
}

Napi::Value DeviceObject::dispose(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    context_->require_no_recording();
    context_->dispose();
    return info.Env().Undefined();
  });
}

}  // namespace komt::addon::kernels
