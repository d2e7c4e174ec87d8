#include "kernels/call.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "arguments.h"
#include "engine/error.h"
#include "kernels/device_object.h"

namespace komt::addon::kernels {

uint64_t elements(std::initializer_list<int64_t> lengths) {
  constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
  uint64_t product = 1;
  for (const int64_t length : lengths) {
    if (length <= 0) return 0;
    product = product > kMost / uint64_t(length) ? kMost : product * uint64_t(length);
  }
  return product;
}

Call::Call(const Napi::CallbackInfo& info)
    : Call(DeviceObject::of(info[0]).context(), object_of(info[1], "arguments")) {}

Call::Call(std::shared_ptr<Context> context, Napi::Object arguments)
    : context_(std::move(context)), arguments_(arguments) {
  context_->require_alive();
}

TensorObject* Call::object(const char* name) const {
  const Napi::Value value = arguments_.Get(name);
  if (value.IsUndefined() || value.IsNull()) return nullptr;
  TensorObject& tensor = TensorObject::of(value, name);
  if (&tensor.allocation().context() != context_.get()) {
    throw Error(ErrorKind::invalid_argument, std::string(name) + " lies on another device");
  }
  return &tensor;
}

TensorObject& Call::required(const char* name) const {
  TensorObject* tensor = object(name);
  if (tensor == nullptr) invalid(name, "a tensor", arguments_.Get(name));
  return *tensor;
}

void* Call::optional(const char* name, Types types, uint64_t count) const {
  const TensorObject* tensor = object(name);
  if (tensor == nullptr) return nullptr;
  if (std::find(types.begin(), types.end(), tensor->type()) == types.end()) {
    throw Error(ErrorKind::invalid_argument, std::string(name) + " is a tensor of another type");
  }
  if (tensor->count() < count) {
    throw Error(ErrorKind::invalid_argument, "Expected at least " + std::to_string(count) +
                                                 " elements for " + name + ", found " +
                                                 std::to_string(tensor->count()));
  }
  return tensor->allocation().data();
}

void* Call::tensor(const char* name, Types types, uint64_t count) const {
  (void)required(name);
  return optional(name, types, count);
}

void* Call::output(const char* name, Types types, uint64_t count) const {
  void* memory = tensor(name, types, count);
  required(name).mark_written();
  return memory;
}

bool Call::written_on_device(const char* name) const {
  const TensorObject* tensor = object(name);
  return tensor != nullptr && tensor->written_on_device();
}

TensorType Call::type(const char* name) const { return required(name).type(); }

uint64_t Call::count(const char* name) const { return required(name).count(); }

bool Call::has(const char* name) const { return object(name) != nullptr; }

int Call::integer(const char* name, int min, int max) const {
  return int(integer_of(arguments_.Get(name), name, min, max));
}

float Call::number(const char* name, double min, double max) const {
  const Napi::Value value = arguments_.Get(name);
  const float number = float(number_of(value, name));
  if (!(number >= min && number <= max)) {
    invalid(name, "a number from " + std::to_string(min) + " to " + std::to_string(max), value);
  }
  return number;
}

bool Call::flag(const char* name) const { return bool_of(arguments_.Get(name), name); }

uint64_t Call::unsigned64(const char* name) const { return uint64_of(arguments_.Get(name), name); }

Call Call::nested(const char* name) const {
  return Call(context_, object_of(arguments_.Get(name), name));
}

komt::kernels::ElementType element_type(TensorType type) {
  switch (type) {
    case TensorType::f16: return komt::kernels::ElementType::f16;
    case TensorType::bf16: return komt::kernels::ElementType::bf16;
    case TensorType::f32: return komt::kernels::ElementType::f32;
    case TensorType::i32:
    case TensorType::u8: break;
  }
  throw Error(ErrorKind::invalid_argument, "Expected a floating-point tensor");
}

CacheArguments cache_of(const Call& call, TensorType type, bool written) {
  // The limits of cuda/attention: heads are a grid's dimension, and a head fits in registers.
  constexpr int kMaxHeads = 65535;
  constexpr int kMaxHeadDim = 256;
  CacheArguments cache;
  cache.num_heads = call.integer("numHeads", 1, kMaxHeads);
  cache.num_kv_heads = call.integer("numKvHeads", 1, cache.num_heads);
  cache.head_dim = call.integer("headDim", 4, kMaxHeadDim);
  const uint64_t page =
      elements({cache.num_kv_heads, komt::kernels::kPageTokens, cache.head_dim});
  cache.keys = written ? call.output("keys", {type}, page) : call.tensor("keys", {type}, page);
  cache.values =
      written ? call.output("values", {type}, page) : call.tensor("values", {type}, page);
  return cache;
}

}  // namespace komt::addon::kernels
