#pragma once
#include <napi.h>

#include <exception>
#include <string>
#include <vector>

#include "engine/decode.h"
#include "engine/engine.h"

namespace komt::addon {

/// The exception as an Error object for JavaScript: message, `kind`, and the facts lib/native/errors.ts
/// makes a class of the library from.
Napi::Value to_js_error(Napi::Env env, std::exception_ptr error);

/// A Float32Array. Larger ones take the vector's memory over instead of copying it on the JavaScript
/// thread, which a prompt's logits would hold up for long.
Napi::Value to_float_array(Napi::Env env, std::vector<float> values);

/// One run of layers on one device.
struct PlacementRequest {
  std::string device;
  int layers = 0;
};

// The readers below throw komt::Error (invalid_argument) naming the field. They check types and ranges;
// how the fields fit together is checked by the engine.
ModelConfig read_config(const Napi::Value& value);
std::vector<WeightSource> read_sources(const Napi::Value& value);
std::vector<PlacementRequest> read_placement(const Napi::Value& value);
DecodeOptions read_decode(const Napi::Value& value);

/// Rows of a forward: three Int32Arrays with an entry a row, and all rows' tokens behind each other.
struct ForwardRequest {
  std::vector<ChunkedForward::Row> rows;
  std::vector<ForwardJob::Wanted> wanted;
};
ForwardRequest read_forward(const Napi::Value& sequences, const Napi::Value& lengths,
                            const Napi::Value& tokens, const Napi::Value& wanted);

}  // namespace komt::addon
