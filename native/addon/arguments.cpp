#include "arguments.h"

#include <cmath>
#include <cstring>

#include "engine/error.h"

namespace komt::addon {

namespace {

const char* name_of(napi_typedarray_type type) {
  switch (type) {
    case napi_int32_array: return "an Int32Array";
    case napi_float32_array: return "a Float32Array";
    case napi_uint8_array: return "a Uint8Array";
    default: return "another typed array";
  }
}

/// The value as a message shows it: primitives in JavaScript's own words, objects by their type alone,
/// because asking them for more would run their code.
std::string shown(const Napi::Value& value) {
  switch (value.Type()) {
    case napi_undefined: return " undefined of type undefined";
    case napi_null: return " null of type null";
    case napi_boolean: return " " + value.ToString().Utf8Value() + " of type boolean";
    case napi_number: return " " + value.ToString().Utf8Value() + " of type number";
    case napi_bigint: return " " + value.ToString().Utf8Value() + " of type bigint";
    case napi_string: return " a value of type string";
    case napi_symbol: return " a value of type symbol";
    case napi_function: return " a value of type function";
    default: return value.IsArray() ? " a value of type array" : " a value of type object";
  }
}

}  // namespace

void invalid(const char* name, const std::string& expected, const Napi::Value& found) {
  throw Error(ErrorKind::invalid_argument,
              "Expected " + expected + " for " + name + " but received" + shown(found));
}

int64_t integer_of(const Napi::Value& value, const char* name, int64_t min, int64_t max) {
  if (value.IsNumber()) {
    const double number = value.As<Napi::Number>().DoubleValue();
    // False for NaN, too.
    if (number >= double(min) && number <= double(max) && number == std::trunc(number)) {
      return int64_t(number);
    }
  }
  invalid(name, "an integer from " + std::to_string(min) + " to " + std::to_string(max), value);
}

double number_of(const Napi::Value& value, const char* name) {
  if (!value.IsNumber()) invalid(name, "a number", value);
  return value.As<Napi::Number>().DoubleValue();
}

bool bool_of(const Napi::Value& value, const char* name) {
  if (!value.IsBoolean()) invalid(name, "a boolean", value);
  return value.As<Napi::Boolean>().Value();
}

std::string string_of(const Napi::Value& value, const char* name) {
  if (!value.IsString()) invalid(name, "a string", value);
  return value.As<Napi::String>();
}

uint64_t uint64_of(const Napi::Value& value, const char* name) {
  if (value.IsBigInt()) {
    bool lossless = false;
    const uint64_t bits = value.As<Napi::BigInt>().Uint64Value(&lossless);
    if (lossless) return bits;
  }
  invalid(name, "a bigint from 0n to 2n ** 64n - 1n", value);
}

Napi::Object object_of(const Napi::Value& value, const char* name) {
  if (!value.IsObject()) invalid(name, "an object", value);
  return value.As<Napi::Object>();
}

Napi::Array array_of(const Napi::Value& value, const char* name) {
  if (!value.IsArray()) invalid(name, "an array", value);
  return value.As<Napi::Array>();
}

Napi::Function function_of(const Napi::Value& value, const char* name) {
  if (!value.IsFunction()) invalid(name, "a function", value);
  return value.As<Napi::Function>();
}

Elements elements_of(const Napi::Value& value, const char* name, napi_typedarray_type type) {
  const char* expected = name_of(type);
  if (!value.IsTypedArray()) invalid(name, expected, value);
  napi_typedarray_type found = type;
  Elements elements;
  napi_value buffer = nullptr;
  size_t offset = 0;
  if (napi_get_typedarray_info(value.Env(), value, &found, &elements.count, &elements.data, &buffer,
                               &offset) != napi_ok ||
      found != type) {
    invalid(name, expected, value);
  }
  bool detached = false;
  if (elements.count == 0 &&
      napi_is_detached_arraybuffer(value.Env(), buffer, &detached) == napi_ok && detached) {
    invalid(name, std::string(expected) + " whose buffer was not transferred", value);
  }
  return elements;
}

std::vector<int32_t> ints_of(const Napi::Value& value, const char* name) {
  const Elements elements = elements_of(value, name, napi_int32_array);
  std::vector<int32_t> ints(elements.count);
  if (!ints.empty()) std::memcpy(ints.data(), elements.data, ints.size() * sizeof(int32_t));
  return ints;
}

}  // namespace komt::addon
