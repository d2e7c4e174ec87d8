// Loading: from byte ranges of files into backend weights, once, with bounded host memory.
#include <algorithm>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "engine/error.h"
#include "engine/file.h"
#include "engine/model_internal.h"

namespace komt {

namespace {

/// Host memory a reading thread holds at a time.
constexpr size_t kChunkBytes = size_t(16) << 20;

float to_float(const void* p, DType dtype) {
  switch (dtype) {
    case DType::f64: {
      double d;
      std::memcpy(&d, p, 8);
      return float(d);
    }
    case DType::f32: {
      float f;
      std::memcpy(&f, p, 4);
      return f;
    }
    default: {
      uint16_t h;
      std::memcpy(&h, p, 2);
      return dtype == DType::f16 ? half_to_float(h) : bfloat16_to_float(h);
    }
  }
}

/// Where one source goes: rows of a matrix, or elements of a float32 vector.
struct Target {
  Backend* backend = nullptr;
  Weight* matrix = nullptr;
  Buffer* vector = nullptr;
  int64_t first = 0;
  int64_t step = 1;
  int64_t rows = 0;  ///< vectors: elements
  int64_t cols = 0;
};

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

/// Copies rows [first, first + count) of a strided matrix to `out`, contiguous, type unchanged.
void read_rows(const File& file, const WeightSource& source, int64_t first, int64_t count, char* out,
               std::vector<char>& scratch) {
  const int64_t cols = source.shape[1];
  const int64_t row_stride = source.strides[0];
  const int64_t col_stride = source.strides[1];
  const size_t element = size_of(source.dtype);
  const auto at = [&](int64_t r, int64_t c) {
    return source.offset + uint64_t(r * row_stride + c * col_stride) * element;
  };
  if (col_stride == 1 && (row_stride == cols || count == 1)) {
    file.read(out, size_t(count * cols) * element, at(first, 0), source.name);
    return;
  }
  if (col_stride == 1) {
    for (int64_t r = 0; r < count; ++r) {
      file.read(out + size_t(r * cols) * element, size_t(cols) * element, at(first + r, 0), source.name);
    }
    return;
  }
  // Columns are apart: read a column's stretch of these rows and scatter it.
  const int64_t span = count == 1 ? 1 : (count - 1) * std::max<int64_t>(row_stride, 0) + 1;
  scratch.resize(size_t(span) * element);
  for (int64_t c = 0; c < cols; ++c) {
    file.read(scratch.data(), size_t(span) * element, at(first, c), source.name);
    for (int64_t r = 0; r < count; ++r) {
      std::memcpy(out + size_t(r * cols + c) * element,
                  scratch.data() + size_t(r * row_stride) * element, element);
    }
  }
}

void load_matrix(const File& file, const WeightSource& source, const Target& target,
                 const std::atomic<bool>& cancelled) {
  const size_t row_bytes = size_t(target.cols) * size_of(source.dtype);
  const int64_t per_chunk = std::max<int64_t>(1, int64_t(kChunkBytes / std::max<size_t>(1, row_bytes)));
  std::vector<char> rows(size_t(std::min(per_chunk, target.rows)) * row_bytes);
  std::vector<char> scratch;
  for (int64_t r = 0; r < target.rows; r += per_chunk) {
    if (cancelled.load(std::memory_order_relaxed)) throw Error(ErrorKind::aborted, "Loading was aborted");
    const int64_t count = std::min(per_chunk, target.rows - r);
    read_rows(file, source, r, count, rows.data(), scratch);
    target.backend->store_rows(*target.matrix, target.first + r * target.step, target.step, rows.data(),
                               source.dtype, count);
  }
}

std::vector<float> read_vector(const File& file, const WeightSource& source) {
  const int64_t n = source.shape[0];
  const int64_t stride = source.strides[0];
  const size_t element = size_of(source.dtype);
  const int64_t span = n == 0 ? 0 : (n - 1) * stride + 1;
  std::vector<char> raw(size_t(span) * element);
  file.read(raw.data(), raw.size(), source.offset, source.name);
  std::vector<float> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    out[size_t(i)] = to_float(raw.data() + size_t(i * stride) * element, source.dtype);
  }
  return out;
}

}  // namespace

void Model::load(std::span<const WeightSource> sources, int threads,
                 const std::function<void(const LoadProgress&)>& progress,
                 const std::atomic<bool>& cancelled) {
  const ModelConfig& c = config_;
  const auto layer_name = [](int layer, const char* what) {
    return "layers." + std::to_string(layer) + "." + what;
  };

  // Memory for everything first: what does not fit is known before a byte is read.
  for (auto& stage : stages_) {
    Backend& backend = *stage->backend;
    const bool last = stage->is_last(*this);
    const auto matrix = [&](int64_t rows, int64_t cols, const std::string& name) {
      return backend.create_weight(c.dtype, rows, cols, name.c_str());
    };
    const auto vector = [&](VectorWeight& v, int64_t size, const char* purpose) {
      v.buffer = backend.allocate(size_t(size) * sizeof(float), purpose);
      v.size = size;
      backend.fill_zero(v.buffer->data(), size_t(size) * sizeof(float));
    };
    const bool tied_here = last && c.tie_word_embeddings;
    if (stage->is_first(*this) || tied_here) {
      stage->embed = matrix(c.vocab_size, c.hidden_size, "embed_tokens");
    }
    if (last) {
      if (!c.tie_word_embeddings) stage->lm_head = matrix(c.vocab_size, c.hidden_size, "lm_head");
      vector(stage->final_norm, c.hidden_size, "norm weights");
    }
    for (size_t i = 0; i < stage->layers.size(); ++i) {
      Layer& layer = stage->layers[i];
      const int index = stage->first_layer + int(i);
      vector(layer.input_norm, c.hidden_size, "norm weights");
      vector(layer.post_attention_norm, c.hidden_size, "norm weights");
      layer.qkv = matrix(c.qkv_rows(), c.hidden_size, layer_name(index, "qkv"));
      layer.o = matrix(c.hidden_size, c.q_rows(), layer_name(index, "o"));
      layer.gate_up = matrix(2 * int64_t(c.intermediate_size), c.hidden_size, layer_name(index, "gate_up"));
      layer.down = matrix(c.hidden_size, c.intermediate_size, layer_name(index, "down"));
    }
  }
  for (const WeightSource& s : sources) {
    if (s.slot < Slot::q_bias || s.slot >= Slot::count) continue;
    for (auto& stage : stages_) {
      const int i = s.layer - stage->first_layer;
      if (i < 0 || i >= int(stage->layers.size())) continue;
      Layer& layer = stage->layers[size_t(i)];
      VectorWeight* v = nullptr;
      int64_t size = c.hidden_size;
      switch (s.slot) {
        case Slot::q_bias:
        case Slot::k_bias:
        case Slot::v_bias: v = &layer.qkv_bias; size = c.qkv_rows(); break;
        case Slot::o_bias: v = &layer.o_bias; break;
        case Slot::gate_bias:
        case Slot::up_bias: v = &layer.gate_up_bias; size = 2 * int64_t(c.intermediate_size); break;
        default: v = &layer.down_bias; break;
      }
      if (!v->buffer) {
        v->buffer = stage->backend->allocate(size_t(size) * sizeof(float), "bias");
        v->size = size;
        stage->backend->fill_zero(v->buffer->data(), size_t(size) * sizeof(float));
      }
    }
  }

  // A source may have two targets (tied embeddings at both ends of a split model).
  const auto targets_of = [&](const WeightSource& s) {
    std::vector<Target> targets;
    for (auto& stage : stages_) {
      Backend* backend = stage->backend;
      const auto matrix = [&](Weight* w, int64_t first, int64_t step, int64_t rows) {
        if (w) targets.push_back({backend, w, nullptr, first, step, rows, w->cols()});
      };
      const auto vector = [&](VectorWeight& v, int64_t first, int64_t step, int64_t size) {
        if (v.buffer) targets.push_back({backend, nullptr, v.buffer.get(), first, step, size, 1});
      };
      if (s.slot == Slot::embed_tokens) { matrix(stage->embed.get(), 0, 1, c.vocab_size); continue; }
      if (s.slot == Slot::lm_head) { matrix(stage->lm_head.get(), 0, 1, c.vocab_size); continue; }
      if (s.slot == Slot::final_norm) { vector(stage->final_norm, 0, 1, c.hidden_size); continue; }
      const int i = s.layer - stage->first_layer;
      if (i < 0 || i >= int(stage->layers.size())) continue;
      Layer& l = stage->layers[size_t(i)];
      const int q = c.q_rows();
      const int kv = c.kv_rows();
      switch (s.slot) {
        case Slot::input_norm: vector(l.input_norm, 0, 1, c.hidden_size); break;
        case Slot::post_attention_norm: vector(l.post_attention_norm, 0, 1, c.hidden_size); break;
        case Slot::q: matrix(l.qkv.get(), 0, 1, q); break;
        case Slot::k: matrix(l.qkv.get(), q, 1, kv); break;
        case Slot::v: matrix(l.qkv.get(), q + kv, 1, kv); break;
        case Slot::o: matrix(l.o.get(), 0, 1, c.hidden_size); break;
        case Slot::gate: matrix(l.gate_up.get(), 0, 2, c.intermediate_size); break;
        case Slot::up: matrix(l.gate_up.get(), 1, 2, c.intermediate_size); break;
        case Slot::down: matrix(l.down.get(), 0, 1, c.hidden_size); break;
        case Slot::q_bias: vector(l.qkv_bias, 0, 1, q); break;
        case Slot::k_bias: vector(l.qkv_bias, q, 1, kv); break;
        case Slot::v_bias: vector(l.qkv_bias, q + kv, 1, kv); break;
        case Slot::o_bias: vector(l.o_bias, 0, 1, c.hidden_size); break;
        case Slot::gate_bias: vector(l.gate_up_bias, 0, 2, c.intermediate_size); break;
        case Slot::up_bias: vector(l.gate_up_bias, 1, 2, c.intermediate_size); break;
        case Slot::down_bias: vector(l.down_bias, 0, 1, c.hidden_size); break;
        default: break;
      }
    }
    return targets;
  };

  LoadProgress state;
  std::vector<std::vector<Target>> targets(sources.size());
  std::map<std::string, std::unique_ptr<File>> files;
  for (size_t i = 0; i < sources.size(); ++i) {
    const WeightSource& s = sources[i];
    targets[i] = targets_of(s);
    if (targets[i].empty()) {
      throw Error::checkpoint("Tensor " + s.name + " has no place in this model", s.file, s.name);
    }
    const Target& t = targets[i].front();
    const std::vector<int64_t> expected =
        t.matrix ? std::vector<int64_t>{t.rows, t.cols} : std::vector<int64_t>{t.rows};
    if (s.shape != expected || s.strides.size() != expected.size()) {
      throw Error::checkpoint("Tensor " + s.name + " has shape " + shape_text(s.shape) +
                                  ", but config.json makes it " + shape_text(expected),
                              s.file, s.name);
    }
    state.bytes_total += uint64_t(t.rows * t.cols) * size_of(s.dtype);
    auto& file = files[s.file];
    if (!file) file = std::make_unique<File>(s.file);
  }

  std::mutex mutex;
  std::exception_ptr failure;
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  const auto work = [&] {
    for (size_t i = next++; i < sources.size() && !failed; i = next++) {
      try {
        const WeightSource& s = sources[i];
        const File& file = *files.at(s.file);
        for (const Target& t : targets[i]) {
          if (t.matrix) {
            load_matrix(file, s, t, cancelled);
            continue;
          }
          const std::vector<float> values = read_vector(file, s);
          const std::scoped_lock lock(mutex);
          auto* out = static_cast<float*>(t.vector->data()) + t.first;
          if (t.step == 1) {
            t.backend->upload(out, values.data(), values.size() * sizeof(float));
          } else {
            for (size_t e = 0; e < values.size(); ++e) {
              t.backend->upload(out + int64_t(e) * t.step, &values[e], sizeof(float));
            }
          }
        }
        const std::scoped_lock lock(mutex);
        state.bytes_loaded += uint64_t(targets[i][0].rows * targets[i][0].cols) * size_of(s.dtype);
        state.name = &s.name;
        progress(state);
      } catch (...) {
        const std::scoped_lock lock(mutex);
        if (!failure) failure = std::current_exception();
        failed = true;
      }
    }
  };
  std::vector<std::thread> pool;
  for (int i = 1; i < threads; ++i) pool.emplace_back(work);
  work();
  for (auto& t : pool) t.join();
  if (failure) std::rethrow_exception(failure);
  for (auto& stage : stages_) stage->backend->synchronize();
}

}  // namespace komt
