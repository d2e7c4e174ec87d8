#pragma once
#include <napi.h>

#include <cstdint>
#include <string>
#include <vector>

namespace komt::addon {

// Readers of what JavaScript passes. lib/ has checked and worded what users pass; what is read here is
// checked again, because what native code computes with must be in range whoever calls. All throw
// komt::Error (invalid_argument) in the words of lib/errors.ts, naming `name`.

/// Throws: expected, for which argument, what came.
[[noreturn]] void invalid(const char* name, const std::string& expected, const Napi::Value& found);

/// A number without fraction from `min` to `max`, both exactly representable as doubles.
int64_t integer_of(const Napi::Value& value, const char* name, int64_t min, int64_t max);
double number_of(const Napi::Value& value, const char* name);
bool bool_of(const Napi::Value& value, const char* name);
std::string string_of(const Napi::Value& value, const char* name);
/// A bigint of 64 bits.
uint64_t uint64_of(const Napi::Value& value, const char* name);
Napi::Object object_of(const Napi::Value& value, const char* name);
Napi::Array array_of(const Napi::Value& value, const char* name);
Napi::Function function_of(const Napi::Value& value, const char* name);

/// The elements of a typed array where they lie: valid until JavaScript runs again. Another thread may
/// write them meanwhile where the buffer is shared, so they are copied before they are checked.
struct Elements {
  void* data = nullptr;
  size_t count = 0;
};
/// A typed array of exactly this type, whose buffer was not transferred.
Elements elements_of(const Napi::Value& value, const char* name, napi_typedarray_type type);
/// An Int32Array, by value.
std::vector<int32_t> ints_of(const Napi::Value& value, const char* name);

}  // namespace komt::addon
