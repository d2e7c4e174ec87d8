#include "kernels/kernels.h"

#include "kernels/device_object.h"
#include "kernels/tensor_object.h"

namespace komt::addon::kernels {

Napi::Object exports(Napi::Env env) {
  auto object = Napi::Object::New(env);
  object.Set("Device", DeviceObject::define(env));
  object.Set("Tensor", TensorObject::define(env));
  object.Set("gemm", Napi::Function::New(env, gemm, "gemm"));
  object.Set("attention", Napi::Function::New(env, attention, "attention"));
  object.Set("rmsNorm", Napi::Function::New(env, rms_norm, "rmsNorm"));
  object.Set("ropeAppend", Napi::Function::New(env, rope_append, "ropeAppend"));
  object.Set("copyPages", Napi::Function::New(env, copy_pages, "copyPages"));
  object.Set("sample", Napi::Function::New(env, sample, "sample"));
  return object;
}

}  // namespace komt::addon::kernels
