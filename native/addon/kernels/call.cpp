#include "kernels/call.h"

#include <string>
#include <utility>

#include "engine/error.h"
#include "kernels/device_object.h"

namespace komt::addon::kernels {

Call::Call(const Napi::CallbackInfo& info)
    : Call(DeviceObject::Unwrap(info[0].As<Napi::Object>())->context(),
           info[1].As<Napi::Object>()) {}

Call::Call(std::shared_ptr<Context> context, Napi::Object arguments)
    : context_(std::move(context)), arguments_(arguments) {
  context_->require_alive();
}

TensorObject* Call::object(const char* name) const {
  const Napi::Value value = arguments_.Get(name);
  if (!value.IsObject()) return nullptr;
  TensorObject* tensor = TensorObject::Unwrap(value.As<Napi::Object>());
  if (&tensor->allocation().context() != context_.get()) {
    throw Error(ErrorKind::invalid_argument, std::string(name) + " lies on another device");
  }
  return tensor;
}

void* Call::tensor(const char* name) const {
  const TensorObject* tensor = object(name);
  return tensor != nullptr ? tensor->allocation().data() : nullptr;
}

void* Call::output(const char* name) const {
  if (TensorObject* tensor = object(name)) tensor->mark_written();
  return tensor(name);
}

bool Call::written_on_device(const char* name) const {
  const TensorObject* tensor = object(name);
  return tensor != nullptr && tensor->written_on_device();
}

komt::kernels::ElementType Call::type(const char* name) const {
  const TensorObject* tensor = object(name);
  if (tensor == nullptr) {
    throw Error(ErrorKind::invalid_argument, std::string(name) + " is missing in a native call");
  }
  switch (tensor->type()) {
    case TensorType::f16: return komt::kernels::ElementType::f16;
    case TensorType::bf16: return komt::kernels::ElementType::bf16;
    case TensorType::f32: return komt::kernels::ElementType::f32;
    default:
      throw Error(ErrorKind::invalid_argument, std::string(name) + " is not of a float type");
  }
}

bool Call::has(const char* name) const { return arguments_.Get(name).IsObject(); }

int Call::integer(const char* name) const {
  return arguments_.Get(name).As<Napi::Number>().Int32Value();
}

float Call::number(const char* name) const {
  return arguments_.Get(name).As<Napi::Number>().FloatValue();
}

bool Call::flag(const char* name) const { return arguments_.Get(name).ToBoolean(); }

uint64_t Call::unsigned64(const char* name) const {
  bool lossless = false;
  return arguments_.Get(name).As<Napi::BigInt>().Uint64Value(&lossless);
}

Call Call::nested(const char* name) const {
  return Call(context_, arguments_.Get(name).As<Napi::Object>());
}

}  // namespace komt::addon::kernels
