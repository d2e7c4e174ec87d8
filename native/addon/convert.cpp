#include "convert.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <memory>
#include <new>
#include <stdexcept>

#include "arguments.h"
#include "engine/error.h"

namespace komt::addon {

namespace {

const char* kind_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::invalid_argument: return "invalid_argument";
    case ErrorKind::checkpoint: return "checkpoint";
    case ErrorKind::out_of_memory: return "out_of_memory";
    case ErrorKind::device: return "device";
    case ErrorKind::disposed: return "disposed";
    case ErrorKind::aborted: return "aborted";
    default: return "internal";
  }
}

constexpr int64_t kMaxInt = INT32_MAX;
/// Largest integer that every double below it is exact for.
constexpr int64_t kMaxSafeInteger = (int64_t(1) << 53) - 1;
/// Below this, copying is cheaper than making the garbage collector responsible.
constexpr size_t kCopiedBytes = size_t(1) << 20;

int read_int(Napi::Object object, const char* name, int64_t min, int64_t max = kMaxInt) {
  return int(integer_of(object.Get(name), name, min, max));
}

/// A number from `min` to `max`, both included; no NaN.
double read_number(Napi::Object object, const char* name, double min, double max) {
  const Napi::Value value = object.Get(name);
  const double number = number_of(value, name);
  if (!(number >= min && number <= max)) {
    invalid(name, "a number from " + std::to_string(min) + " to " + std::to_string(max), value);
  }
  return number;
}

/// A finite number above 0, as a float has it.
float read_positive(Napi::Object object, const char* name) {
  const Napi::Value value = object.Get(name);
  const float number = float(number_of(value, name));
  if (!(number > 0 && std::isfinite(number))) invalid(name, "a number above 0", value);
  return number;
}

DType read_dtype(Napi::Object object) {
  const Napi::Value value = object.Get("dtype");
  const std::string name = string_of(value, "dtype");
  if (name == "float32") return DType::f32;
  if (name == "float16") return DType::f16;
  if (name == "bfloat16") return DType::bf16;
  if (name == "float64") return DType::f64;
  invalid("dtype", "a floating-point dtype", value);
}

std::vector<int64_t> read_longs(Napi::Object object, const char* name) {
  const auto array = array_of(object.Get(name), name);
  // One or two dimensions; more are refused here instead of being read.
  if (array.Length() > 2) invalid(name, "at most two dimensions", array);
  std::vector<int64_t> out;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    out.push_back(integer_of(array.Get(i), name, 0, kMaxSafeInteger));
  }
  return out;
}

Napi::Object out_of_memory(Napi::Env env) {
  Napi::Object object =
      Napi::Error::New(env, "The host is out of memory. Close other programs or use a smaller model")
          .Value();
  object.Set("kind", "out_of_memory");
  return object;
}

}  // namespace

Napi::Value to_js_error(Napi::Env env, std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    Napi::Object object = Napi::Error::New(env, e.what()).Value();
    object.Set("kind", kind_name(e.kind()));
    if (e.kind() == ErrorKind::out_of_memory) {
      object.Set("bytesNeeded", double(e.bytes_needed()));
      object.Set("bytesFree", double(e.bytes_free()));
    }
    if (!e.file().empty()) object.Set("file", e.file());
    if (!e.subject().empty()) object.Set("subject", e.subject());
    return object;
  } catch (const std::bad_alloc&) {
    return out_of_memory(env);
  } catch (const std::length_error&) {
    return out_of_memory(env);  // a container asked for more than an address space
  } catch (const std::exception& e) {
    Napi::Object object = Napi::Error::New(env, e.what()).Value();
    object.Set("kind", "internal");
    return object;
  } catch (...) {
    Napi::Object object = Napi::Error::New(env, "Unknown native exception").Value();
    object.Set("kind", "internal");
    return object;
  }
}

Napi::Value to_float_array(Napi::Env env, std::vector<float> values) {
  const size_t count = values.size();
  const size_t bytes = count * sizeof(float);
  if (bytes >= kCopiedBytes) {
    auto owner = std::make_unique<std::vector<float>>(std::move(values));
    napi_value buffer = nullptr;
    const napi_status status = napi_create_external_arraybuffer(
        env, owner->data(), bytes,
        [](napi_env, void*, void* hint) { delete static_cast<std::vector<float>*>(hint); },
        owner.get(), &buffer);
    if (status == napi_ok) {
      owner.release();
      return Napi::Float32Array::New(env, count, Napi::ArrayBuffer(env, buffer), 0);
    }
    // Electron has no external buffers.
    if (status != napi_no_external_buffers_allowed) throw Napi::Error::New(env);
    values = std::move(*owner);
  }
  auto out = Napi::Float32Array::New(env, count);
  std::copy(values.begin(), values.end(), out.Data());
  return out;
}

ModelConfig read_config(const Napi::Value& value) {
  const auto o = object_of(value, "config");
  ModelConfig c;
  c.hidden_size = read_int(o, "hidden_size", 1);
  c.intermediate_size = read_int(o, "intermediate_size", 1);
  c.num_hidden_layers = read_int(o, "num_hidden_layers", 1);
  c.num_attention_heads = read_int(o, "num_attention_heads", 1);
  c.num_key_value_heads = read_int(o, "num_key_value_heads", 1);
  c.head_dim = read_int(o, "head_dim", 2);
  c.vocab_size = read_int(o, "vocab_size", 1);
  c.max_position_embeddings = read_int(o, "max_position_embeddings", 1);
  c.rms_norm_eps = float(read_number(o, "rms_norm_eps", 0, FLT_MAX));
  c.tie_word_embeddings = bool_of(o.Get("tie_word_embeddings"), "tie_word_embeddings");
  for (const int32_t window : ints_of(o.Get("sliding_window"), "sliding_window")) {
    c.sliding_window.push_back(window);
  }
  c.cache_tokens = read_int(o, "cache_tokens", 0);
  c.dtype = read_dtype(o);
  const auto rope = object_of(o.Get("rope"), "rope");
  const Elements frequencies =
      elements_of(rope.Get("inv_freq"), "inv_freq", napi_float32_array);
  const auto* first = static_cast<const float*>(frequencies.data);
  c.rope.inv_freq.assign(first, first + frequencies.count);
  c.rope.attention_scaling = float(read_number(rope, "attention_scaling", -FLT_MAX, FLT_MAX));
  c.rope.dynamic = bool_of(rope.Get("dynamic"), "dynamic");
  c.rope.theta = float(read_number(rope, "theta", -FLT_MAX, FLT_MAX));
  c.rope.factor = float(read_number(rope, "factor", -FLT_MAX, FLT_MAX));
  c.rope.original_max_position = read_int(rope, "original_max_position", 0);
  return c;
}

std::vector<WeightSource> read_sources(const Napi::Value& value) {
  const auto array = array_of(value, "sources");
  std::vector<WeightSource> sources;
  sources.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::HandleScope scope(array.Env());
    const auto o = object_of(array.Get(i), "a source");
    WeightSource s;
    s.slot = Slot(read_int(o, "slot", 0, int(Slot::count) - 1));
    s.layer = read_int(o, "layer", 0);
    s.name = string_of(o.Get("name"), "name");
    s.dtype = read_dtype(o);
    s.shape = read_longs(o, "shape");
    s.strides = read_longs(o, "strides");
    s.file = string_of(o.Get("file"), "file");
    s.offset = uint64_t(integer_of(o.Get("offset"), "offset", 0, kMaxSafeInteger));
    sources.push_back(std::move(s));
  }
  return sources;
}

std::vector<PlacementRequest> read_placement(const Napi::Value& value) {
  const auto array = array_of(value, "placement");
  std::vector<PlacementRequest> out;
  int64_t layers = 0;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const auto o = object_of(array.Get(i), "a placement");
    out.push_back({string_of(o.Get("device"), "device"), read_int(o, "layers", 0)});
    layers += out.back().layers;
    if (layers > kMaxInt) invalid("placement", "as many layers as the model has", value);
  }
  if (out.empty()) invalid("placement", "at least one device", value);
  return out;
}

DecodeOptions read_decode(const Napi::Value& value) {
  const auto o = object_of(value, "a decode request");
  DecodeOptions d;
  const auto rows = array_of(o.Get("rows"), "rows");
  for (uint32_t i = 0; i < rows.Length(); ++i) {
    const Napi::HandleScope scope(rows.Env());
    const auto r = object_of(rows.Get(i), "a row");
    DecodeRow row;
    row.sequence = read_int(r, "sequence", 0);
    row.tokens = ints_of(r.Get("tokens"), "tokens");
    row.history = ints_of(r.Get("history"), "history");
    row.stream_hash = uint64_of(r.Get("streamHash"), "streamHash");
    row.stream_lane = uint32_t(integer_of(r.Get("streamLane"), "streamLane", 0, UINT32_MAX));
    row.max_new_tokens = read_int(r, "max_new_tokens", 1);
    d.rows.push_back(std::move(row));
  }
  const auto s = object_of(o.Get("sampling"), "sampling");
  d.sampling.do_sample = bool_of(s.Get("do_sample"), "do_sample");
  d.sampling.temperature = read_positive(s, "temperature");
  d.sampling.top_k = read_int(s, "top_k", 0);
  d.sampling.top_p = read_number(s, "top_p", 0, 1);
  d.sampling.min_p = float(read_number(s, "min_p", 0, 1));
  d.sampling.typical_p = float(read_number(s, "typical_p", 0, 1));
  d.sampling.repetition_penalty = read_positive(s, "repetition_penalty");
  d.min_new_tokens = read_int(s, "min_new_tokens", 0);
  d.eos_token_ids = ints_of(o.Get("eos_token_ids"), "eos_token_ids");
  d.seed = uint64_of(o.Get("seed"), "seed");
  d.logprobs = bool_of(o.Get("logprobs"), "logprobs");
  d.ask = bool_of(o.Get("ask"), "ask");
  return d;
}

ForwardRequest read_forward(const Napi::Value& sequences, const Napi::Value& lengths,
                            const Napi::Value& tokens, const Napi::Value& wanted) {
  const std::vector<int32_t> handles = ints_of(sequences, "sequences");
  const std::vector<int32_t> counts = ints_of(lengths, "lengths");
  const std::vector<int32_t> ids = ints_of(tokens, "tokens");
  const std::vector<int32_t> choices = ints_of(wanted, "wanted");
  if (counts.size() != handles.size()) invalid("lengths", "an entry a row", lengths);
  if (choices.size() != handles.size()) invalid("wanted", "an entry a row", wanted);
  ForwardRequest request;
  auto at = ids.begin();
  for (size_t i = 0; i < handles.size(); ++i) {
    if (counts[i] < 0 || counts[i] > ids.end() - at) {
      invalid("lengths", "row lengths whose sum is the number of tokens", lengths);
    }
    if (choices[i] < 0 || choices[i] > int(ForwardJob::Wanted::all)) {
      invalid("wanted", "0, 1 or 2 a row", wanted);
    }
    request.rows.push_back({handles[i], {at, at + counts[i]}});
    request.wanted.push_back(ForwardJob::Wanted(choices[i]));
    at += counts[i];
  }
  if (at != ids.end()) invalid("lengths", "row lengths whose sum is the number of tokens", lengths);
  return request;
}

}  // namespace komt::addon
