#pragma once
#include <napi.h>

#include <exception>
#include <string>
#include <vector>

#include "backends/registry.h"
#include "engine/decode.h"
#include "engine/engine.h"

namespace komt::addon {

/// The exception as an Error object for JavaScript: message, `kind`, and the facts lib/native/errors.ts
/// makes a class of the library from.
Napi::Value to_js_error(Napi::Env env, std::exception_ptr error);

/// One run of layers on one device.
struct PlacementRequest {
  std::string device;
  int layers = 0;
};

// The readers below throw komt::Error (invalid_argument) naming the field. Objects come from
// lib/native, which has validated what users pass; what is checked here are types.
ModelConfig read_config(Napi::Object object);
std::vector<WeightSource> read_sources(Napi::Array array);
std::vector<PlacementRequest> read_placement(Napi::Array array);
DecodeOptions read_decode(Napi::Object object);

/// An int32 typed array, by value.
std::vector<int32_t> read_ints(const Napi::Value& value, const char* name);
int read_int(Napi::Object object, const char* name);
double read_number(Napi::Object object, const char* name);
bool read_bool(Napi::Object object, const char* name);
std::string read_string(Napi::Object object, const char* name);

}  // namespace komt::addon
