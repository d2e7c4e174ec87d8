#include <napi.h>

#include "backends/registry.h"
#include "engine_object.h"
#include "guarded.h"

#ifdef KOMT_WITH_CUDA
#include "kernels/kernels.h"
#endif

namespace komt::addon {
namespace {

Napi::Array strings(Napi::Env env, const std::vector<std::string>& values) {
  auto array = Napi::Array::New(env, values.size());
  for (size_t i = 0; i < values.size(); ++i) array.Set(uint32_t(i), values[i]);
  return array;
}

Napi::Value build_info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto object = Napi::Object::New(env);
  object.Set("version", KOMT_VERSION);
  object.Set("backends", strings(env, built_backends()));
#ifdef KOMT_CUDA_ARCHITECTURES
  object.Set("cudaArchitectures", KOMT_CUDA_ARCHITECTURES);
#endif
#if defined(__clang__)
  object.Set("compiler", "clang " __clang_version__);
#elif defined(__GNUC__)
  object.Set("compiler", "gcc " __VERSION__);
#elif defined(_MSC_VER)
  object.Set("compiler", "msvc");
#endif
  return object;
}

Napi::Value devices(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    auto array = Napi::Array::New(env);
    for (const DeviceInfo& device : list_devices()) {
      auto object = Napi::Object::New(env);
      object.Set("name", device.name);
      object.Set("description", device.description);
      object.Set("memoryTotal", double(device.memory_total));
      object.Set("memoryFree", double(device.memory_free));
      object.Set("features", strings(env, device.features));
      array.Set(array.Length(), object);
    }
    return array;
  });
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("buildInfo", Napi::Function::New(env, build_info, "buildInfo"));
  exports.Set("devices", Napi::Function::New(env, devices, "devices"));
  exports.Set("Engine", EngineObject::define(env));
#ifdef KOMT_WITH_CUDA
  exports.Set("kernels", kernels::exports(env));
#endif
  return exports;
}

}  // namespace
}  // namespace komt::addon

// NODE_API_MODULE wants an unqualified function.
static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  return komt::addon::init(env, exports);
}
NODE_API_MODULE(komt, Init)
