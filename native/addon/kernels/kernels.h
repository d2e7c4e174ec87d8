#pragma once
#include <napi.h>

namespace komt::addon::kernels {

/// The object behind the package's entry `komt/kernels`: device and tensor classes, and a function per
/// launcher, each (device, arguments) -> undefined. Names and types: lib/native/kernels.ts.
Napi::Object exports(Napi::Env env);

Napi::Value gemm(const Napi::CallbackInfo& info);
Napi::Value attention(const Napi::CallbackInfo& info);
Napi::Value rms_norm(const Napi::CallbackInfo& info);
Napi::Value rope_append(const Napi::CallbackInfo& info);
Napi::Value copy_pages(const Napi::CallbackInfo& info);
Napi::Value sample(const Napi::CallbackInfo& info);

}  // namespace komt::addon::kernels
