#include "convert.h"

#include <new>

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

[[noreturn]] void bad(const char* name, const char* expected) {
  throw Error(ErrorKind::invalid_argument,
              std::string("Expected ") + expected + " for " + name + " in a native call");
}

Napi::Value field(Napi::Object object, const char* name) { return object.Get(name); }

DType read_dtype(const std::string& name) {
  if (name == "float32") return DType::f32;
  if (name == "float16") return DType::f16;
  if (name == "bfloat16") return DType::bf16;
  if (name == "float64") return DType::f64;
  bad(name.c_str(), "a floating-point dtype");
}

std::vector<int64_t> read_longs(const Napi::Value& value, const char* name) {
  if (!value.IsArray()) bad(name, "an array");
  const auto array = value.As<Napi::Array>();
  std::vector<int64_t> out;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    out.push_back(array.Get(i).As<Napi::Number>().Int64Value());
  }
  return out;
}

uint64_t read_u64(const Napi::Value& value, const char* name) {
  if (!value.IsBigInt()) bad(name, "a bigint");
  bool lossless = false;
  return value.As<Napi::BigInt>().Uint64Value(&lossless);
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
    Napi::Object object =
        Napi::Error::New(env, "The host is out of memory. Close other programs or use a smaller model")
            .Value();
    object.Set("kind", "out_of_memory");
    return object;
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

std::vector<int32_t> read_ints(const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
    bad(name, "an Int32Array");
  }
  const auto array = value.As<Napi::Int32Array>();
  return {array.Data(), array.Data() + array.ElementLength()};
}

double read_number(Napi::Object object, const char* name) {
  const Napi::Value value = field(object, name);
  if (!value.IsNumber()) bad(name, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

int read_int(Napi::Object object, const char* name) { return int(read_number(object, name)); }

bool read_bool(Napi::Object object, const char* name) { return field(object, name).ToBoolean(); }

std::string read_string(Napi::Object object, const char* name) {
  const Napi::Value value = field(object, name);
  if (!value.IsString()) bad(name, "a string");
  return value.As<Napi::String>();
}

ModelConfig read_config(Napi::Object o) {
  ModelConfig c;
  c.hidden_size = read_int(o, "hidden_size");
  c.intermediate_size = read_int(o, "intermediate_size");
  c.num_hidden_layers = read_int(o, "num_hidden_layers");
  c.num_attention_heads = read_int(o, "num_attention_heads");
  c.num_key_value_heads = read_int(o, "num_key_value_heads");
  c.head_dim = read_int(o, "head_dim");
  c.vocab_size = read_int(o, "vocab_size");
  c.max_position_embeddings = read_int(o, "max_position_embeddings");
  c.rms_norm_eps = float(read_number(o, "rms_norm_eps"));
  c.tie_word_embeddings = read_bool(o, "tie_word_embeddings");
  for (const int32_t window : read_ints(field(o, "sliding_window"), "sliding_window")) {
    c.sliding_window.push_back(window);
  }
  c.cache_tokens = read_int(o, "cache_tokens");
  c.dtype = read_dtype(read_string(o, "dtype"));
  const auto rope = field(o, "rope").As<Napi::Object>();
  const auto frequencies = field(rope, "inv_freq").As<Napi::Float32Array>();
  c.rope.inv_freq.assign(frequencies.Data(), frequencies.Data() + frequencies.ElementLength());
  if (int(c.rope.inv_freq.size()) * 2 != c.head_dim) bad("inv_freq", "head_dim / 2 frequencies");
  c.rope.attention_scaling = float(read_number(rope, "attention_scaling"));
  c.rope.dynamic = read_bool(rope, "dynamic");
  c.rope.theta = float(read_number(rope, "theta"));
  c.rope.factor = float(read_number(rope, "factor"));
  c.rope.original_max_position = read_int(rope, "original_max_position");
  return c;
}

std::vector<WeightSource> read_sources(Napi::Array array) {
  std::vector<WeightSource> sources;
  sources.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::HandleScope scope(array.Env());
    const auto o = array.Get(i).As<Napi::Object>();
    WeightSource s;
    const int slot = read_int(o, "slot");
    if (slot < 0 || slot >= int(Slot::count)) bad("slot", "a known slot");
    s.slot = Slot(slot);
    s.layer = read_int(o, "layer");
    s.name = read_string(o, "name");
    s.dtype = read_dtype(read_string(o, "dtype"));
    s.shape = read_longs(field(o, "shape"), "shape");
    s.strides = read_longs(field(o, "strides"), "strides");
    s.file = read_string(o, "file");
    s.offset = uint64_t(read_number(o, "offset"));
    sources.push_back(std::move(s));
  }
  return sources;
}

std::vector<PlacementRequest> read_placement(Napi::Array array) {
  std::vector<PlacementRequest> out;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const auto o = array.Get(i).As<Napi::Object>();
    out.push_back({read_string(o, "device"), read_int(o, "layers")});
  }
  if (out.empty()) bad("placement", "at least one device");
  return out;
}

DecodeOptions read_decode(Napi::Object o) {
  DecodeOptions d;
  const auto rows = field(o, "rows").As<Napi::Array>();
  for (uint32_t i = 0; i < rows.Length(); ++i) {
    const auto r = rows.Get(i).As<Napi::Object>();
    DecodeRow row;
    row.sequence = read_int(r, "sequence");
    row.tokens = read_ints(field(r, "tokens"), "tokens");
    row.history = read_ints(field(r, "history"), "history");
    row.stream_hash = read_u64(field(r, "streamHash"), "streamHash");
    row.stream_lane = uint32_t(read_number(r, "streamLane"));
    row.max_new_tokens = read_int(r, "max_new_tokens");
    d.rows.push_back(std::move(row));
  }
  const auto s = field(o, "sampling").As<Napi::Object>();
  d.sampling.do_sample = read_bool(s, "do_sample");
  d.sampling.temperature = float(read_number(s, "temperature"));
  d.sampling.top_k = read_int(s, "top_k");
  d.sampling.top_p = read_number(s, "top_p");
  d.sampling.min_p = float(read_number(s, "min_p"));
  d.sampling.typical_p = float(read_number(s, "typical_p"));
  d.sampling.repetition_penalty = float(read_number(s, "repetition_penalty"));
  d.min_new_tokens = read_int(s, "min_new_tokens");
  d.eos_token_ids = read_ints(field(o, "eos_token_ids"), "eos_token_ids");
  d.seed = read_u64(field(o, "seed"), "seed");
  d.logprobs = read_bool(o, "logprobs");
  d.ask = read_bool(o, "ask");
  return d;
}

}  // namespace komt::addon
