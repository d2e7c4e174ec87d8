#include "kernels/device_object.h"

#include "guarded.h"
#include "kernels/timing.h"

namespace komt::addon::kernels {

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
        return std::make_shared<Context>(info[0].As<Napi::Number>().Int32Value());
      })) {}

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
    const auto enqueue = info[0].As<Napi::Function>();
    const Recording recording(*context_, [&] { enqueue.Call({}); });
    const int repeats = info[1].As<Napi::Number>().Int32Value();
    auto times = Napi::Float64Array::New(info.Env(), size_t(repeats));
    for (int i = 0; i < repeats; ++i) times[size_t(i)] = recording.replay();
    return times;
  });
}

Napi::Value DeviceObject::dispose(const Napi::CallbackInfo& info) {
  context_->dispose();
  return info.Env().Undefined();
}

}  // namespace komt::addon::kernels
