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

/// What a reading thread reads at a time; a backend may hold two such pieces for each thread.
constexpr size_t kPieceBytes = size_t(8) << 20;

/// Larger matrices are dealt out to several reading threads, so that none is left alone with the
/// embeddings in the end.
constexpr size_t kShareBytes = size_t(64) << 20;

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
  int64_t cols = 0;  ///< of the source; the matrix may be padded to more

  std::vector<int64_t> shape() const {
    return matrix ? std::vector<int64_t>{rows, cols} : std::vector<int64_t>{rows};
  }
};

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

/// Bytes asked of a file at once: an abort waits for no more than this.
constexpr size_t kReadBytes = size_t(4) << 20;

/// Bytes read for a byte that is wanted, where elements are apart in both directions. Slices of every
/// second or fourth element need less; what needs more is no checkpoint, or one made to hang its reader.
constexpr int64_t kMaxSpread = 16;

/// A tensor's bytes, read in pieces between which an abort is seen.
class TensorReader {
 public:
  TensorReader(const File& file, const WeightSource& source, const std::atomic<bool>& cancelled)
      : file_(file), source_(source), cancelled_(cancelled) {}

  /// `count` neighbouring elements from the one at `first`, counted from the tensor's offset.
  void read(char* out, int64_t first, int64_t count) const {
    uint64_t at = source_.offset + uint64_t(first) * size_of(source_.dtype);
    for (size_t left = size_t(count) * size_of(source_.dtype); left > 0;) {
      if (cancelled_.load(std::memory_order_relaxed)) {
        throw Error(ErrorKind::aborted, "Loading was aborted");
      }
      const size_t piece = std::min(left, kReadBytes);
      file_.read(out, piece, at, source_.name);
      out += piece;
      at += piece;
      left -= piece;
    }
  }
  const WeightSource& source() const { return source_; }

 private:
  const File& file_;
  const WeightSource& source_;
  const std::atomic<bool>& cancelled_;
};

/// Elements of a line of `count`, `stride` apart, with what lies between them.
int64_t stretch(int64_t count, int64_t stride) { return (count - 1) * stride + 1; }

/// Whether `count` rows of a matrix whose columns are apart are read column by column: where fewer bytes
/// are read so.
bool by_columns(const WeightSource& source, int64_t count) {
  const int64_t cols = source.shape[1];
  return double(cols) * double(stretch(count, source.strides[0])) <
         double(count) * double(stretch(cols, source.strides[1]));
}

/// Copies rows [first, first + count) of a strided matrix to `out`, rows `out_cols` apart, type
/// unchanged.
void read_rows(const TensorReader& reader, int64_t first, int64_t count, char* out,
               int64_t out_cols, std::vector<char>& scratch) {
  const WeightSource& source = reader.source();
  const int64_t cols = source.shape[1];
  const int64_t row_stride = source.strides[0];
  const int64_t col_stride = source.strides[1];
  const size_t element = size_of(source.dtype);
  if (col_stride == 1 && row_stride == cols && out_cols == cols) {
    return reader.read(out, first * row_stride, count * cols);
  }
  if (col_stride == 1) {
    for (int64_t r = 0; r < count; ++r) {
      reader.read(out + size_t(r * out_cols) * element, (first + r) * row_stride, cols);
    }
    return;
  }
  // Elements are apart: read a line's stretch and scatter it, along whichever direction is denser.
  const bool columns = by_columns(source, count);
  const int64_t lines = columns ? cols : count;
  const int64_t length = columns ? count : cols;
  const int64_t step = columns ? row_stride : col_stride;
  const int64_t line_step = columns ? col_stride : row_stride;
  const int64_t out_step = columns ? out_cols : 1;
  const int64_t out_line_step = columns ? 1 : out_cols;
  const int64_t span = stretch(length, step);
  scratch.resize(size_t(span) * element);
  for (int64_t l = 0; l < lines; ++l) {
    reader.read(scratch.data(), first * row_stride + l * line_step, span);
    for (int64_t i = 0; i < length; ++i) {
      std::memcpy(out + size_t(l * out_line_step + i * out_step) * element,
                  scratch.data() + size_t(i * step) * element, element);
    }
  }
}

/// Rows of `source` that are read as one piece.
int64_t rows_per_piece(const WeightSource& source, int64_t cols) {
  return std::max<int64_t>(1, int64_t(kPieceBytes / (size_t(cols) * size_of(source.dtype))));
}

/// Throws a checkpoint error for strides that leave a file's range, or that could only be read by going
/// over the same bytes again and again. `cols` are those of the matrix; 0 for vectors.
void check_strides(const WeightSource& source, int64_t cols) {
  const auto refuse = [&](const std::string& what) {
    std::string strides;
    for (const int64_t stride : source.strides) {
      strides += (strides.empty() ? "" : ", ") + std::to_string(stride);
    }
    throw Error::checkpoint("Tensor " + source.name + " has strides [" + strides + "]" + what,
                            source.file, source.name);
  };
  // In elements of at most 8 bytes, so that no position in a file leaves 63 bits.
  constexpr int64_t kMaxReach = int64_t(1) << 58;
  int64_t left = kMaxReach;
  for (size_t d = 0; d < source.shape.size(); ++d) {
    const int64_t steps = source.shape[d] - 1;
    const int64_t stride = source.strides[d];
    if (stride < 0 || (steps > 0 && stride > left / steps)) refuse(", which no file has");
    left -= steps * stride;
  }
  if (source.offset > uint64_t(kMaxReach)) refuse(" and lies beyond the end of any file");
  if (cols == 0 || source.strides[1] == 1) return;
  const int64_t count = std::min(source.shape[0], rows_per_piece(source, cols));
  const bool columns = by_columns(source, count);
  const int64_t length = columns ? count : source.shape[1];
  if (stretch(length, source.strides[columns ? 0 : 1]) > kMaxSpread * length) {
    refuse(": reading it would go over more than " + std::to_string(kMaxSpread) +
           " times its size. Save it again with tensor.contiguous()");
  }
}

/// A reading thread's writers, one for each backend it has met.
class Writers {
 public:
  WeightWriter& of(Backend& backend) {
    auto& writer = writers_[&backend];
    if (!writer) writer = backend.open_writer();
    return *writer;
  }
  void finish() {
    for (auto& [backend, writer] : writers_) writer->finish();
  }

 private:
  std::map<Backend*, std::unique_ptr<WeightWriter>> writers_;
};

/// Some rows of a matrix, or a whole vector.
struct Share {
  size_t source = 0;  ///< index
  int64_t first = 0;
  int64_t count = 0;
};

void load_matrix(const TensorReader& reader, const Target& target, const Share& share,
                 WeightWriter& writer) {
  const WeightSource& source = reader.source();
  const int64_t cols = target.matrix->cols();
  const size_t row_bytes = size_t(cols) * size_of(source.dtype);
  const int64_t per_piece = rows_per_piece(source, cols);
  std::vector<char> scratch;
  const int64_t end = share.first + share.count;
  for (int64_t r = share.first; r < end; r += per_piece) {
    const int64_t count = std::min(per_piece, end - r);
    char* piece = writer.reserve(size_t(count) * row_bytes);
    // Columns that the matrix has more than the source are zero, whatever the memory held before.
    if (cols != source.shape[1]) std::memset(piece, 0, size_t(count) * row_bytes);
    read_rows(reader, r, count, piece, cols, scratch);
    writer.store_rows(*target.matrix, target.first + r * target.step, target.step, source.dtype,
                      count);
  }
}

/// Vectors are small: read, converted and uploaded whole. The backend's queue takes one caller at a
/// time, hence the lock.
void load_vector(const TensorReader& reader, const Target& target, std::mutex& mutex) {
  const WeightSource& source = reader.source();
  const int64_t stride = source.strides[0];
  const size_t element = size_of(source.dtype);
  // Far apart, elements are read one by one.
  const bool spread = stride > kMaxSpread;
  const int64_t step = spread ? 1 : stride;
  std::vector<char> raw(size_t(stretch(target.rows, step)) * element);
  if (spread) {
    for (int64_t i = 0; i < target.rows; ++i) {
      reader.read(raw.data() + size_t(i) * element, i * stride, 1);
    }
  } else {
    reader.read(raw.data(), 0, stretch(target.rows, step));
  }
  const auto value = [&](int64_t i) {
    return to_float(raw.data() + size_t(i * step) * element, source.dtype);
  };
  const std::scoped_lock lock(mutex);
  // Interleaved targets (gate and up) share a buffer: read, place, write back.
  std::vector<float> whole(target.vector->bytes() / sizeof(float));
  target.backend->download(whole.data(), target.vector->data(), whole.size() * sizeof(float));
  for (int64_t i = 0; i < target.rows; ++i) whole[size_t(target.first + i * target.step)] = value(i);
  target.backend->upload(target.vector->data(), whole.data(), whole.size() * sizeof(float));
}

/// Threads that are joined however the scope ends.
class Readers {
 public:
  /// As many of `count` as the system gives: those that start, and the caller, read everything.
  template <class Work>
  Readers(int count, const Work& work) {
    try {
      threads_.reserve(size_t(count));
      for (int i = 0; i < count; ++i) threads_.emplace_back(work);
    } catch (...) {
    }
  }
  ~Readers() {
    for (std::thread& thread : threads_) thread.join();
  }
  Readers(const Readers&) = delete;
  Readers& operator=(const Readers&) = delete;

 private:
  std::vector<std::thread> threads_;
};

}  // namespace

void Model::allocate_weights(std::span<const WeightSource> sources) {
  const ModelConfig& c = config_;
  const int64_t inner = inner_size_;
  for (auto& stage : stages_) {
    Backend& backend = *stage->backend;
    const auto matrix = [&](int64_t rows, int64_t cols, const std::string& name) {
      return backend.create_weight(c.dtype, rows, cols, name.c_str());
    };
    const auto vector = [&](std::unique_ptr<Buffer>& v, int64_t size, const char* purpose) {
      if (v) return;
      v = backend.allocate(size_t(size) * sizeof(float), purpose);
      backend.fill_zero(v->data(), v->bytes());
    };
    const bool last = stage->is_last(*this);
    if (stage->is_first(*this) || (last && c.tie_word_embeddings)) {
      stage->embed = matrix(c.vocab_size, c.hidden_size, "embed_tokens");
    }
    if (last) {
      if (!c.tie_word_embeddings) stage->lm_head = matrix(c.vocab_size, c.hidden_size, "lm_head");
      vector(stage->final_norm, c.hidden_size, "norm weights");
    }
    for (size_t i = 0; i < stage->layers.size(); ++i) {
      Layer& layer = stage->layers[i];
      const std::string name = "layers." + std::to_string(stage->first_layer + int(i)) + ".";
      vector(layer.input_norm, c.hidden_size, "norm weights");
      vector(layer.post_attention_norm, c.hidden_size, "norm weights");
      layer.qkv = matrix(c.qkv_rows(), c.hidden_size, name + "qkv");
      layer.o = matrix(c.hidden_size, c.q_rows(), name + "o");
      layer.gate_up = matrix(2 * inner, c.hidden_size, name + "gate_up");
      layer.down = matrix(c.hidden_size, inner, name + "down");
    }
    // Biases only where the checkpoint has some.
    for (const WeightSource& s : sources) {
      const int i = s.layer - stage->first_layer;
      if (s.slot < Slot::q_bias || i < 0 || i >= int(stage->layers.size())) continue;
      Layer& layer = stage->layers[size_t(i)];
      switch (s.slot) {
        case Slot::q_bias:
        case Slot::k_bias:
        case Slot::v_bias: vector(layer.qkv_bias, c.qkv_rows(), "bias"); break;
        case Slot::o_bias: vector(layer.o_bias, c.hidden_size, "bias"); break;
        case Slot::gate_bias:
        case Slot::up_bias: vector(layer.gate_up_bias, 2 * inner, "bias"); break;
        default: vector(layer.down_bias, c.hidden_size, "bias"); break;
      }
    }
  }
}

namespace {

/// Collects where a source goes. A source may have two targets: tied embeddings at both ends of a
/// split model.
struct TargetList {
  Backend* backend = nullptr;
  std::vector<Target> targets;

  void matrix(const std::unique_ptr<Weight>& w, int64_t first, int64_t step, int64_t rows,
              int64_t cols) {
    if (w) targets.push_back({backend, w.get(), nullptr, first, step, rows, cols});
  }
  void vector(const std::unique_ptr<Buffer>& v, int64_t first, int64_t step, int64_t size) {
    if (v) targets.push_back({backend, nullptr, v.get(), first, step, size, 1});
  }
};

}  // namespace

void Model::load(std::span<const WeightSource> sources, int threads,
                 const std::function<void(const LoadProgress&)>& progress,
                 const std::atomic<bool>& cancelled) {
  // Memory for everything first: what does not fit is known before a byte is read.
  allocate_weights(sources);

  const ModelConfig& c = config_;
  const int64_t hidden = c.hidden_size;
  const int64_t inner = c.intermediate_size;
  const int64_t q = c.q_rows();
  const int64_t kv = c.kv_rows();
  const auto targets_of = [&](const WeightSource& s) {
    TargetList list;
    for (auto& stage : stages_) {
      list.backend = stage->backend;
      if (s.slot == Slot::embed_tokens) list.matrix(stage->embed, 0, 1, c.vocab_size, hidden);
      if (s.slot == Slot::lm_head) list.matrix(stage->lm_head, 0, 1, c.vocab_size, hidden);
      if (s.slot == Slot::final_norm) list.vector(stage->final_norm, 0, 1, hidden);
      const int i = s.layer - stage->first_layer;
      if (i < 0 || i >= int(stage->layers.size())) continue;
      const Layer& l = stage->layers[size_t(i)];
      switch (s.slot) {
        case Slot::input_norm: list.vector(l.input_norm, 0, 1, hidden); break;
        case Slot::post_attention_norm: list.vector(l.post_attention_norm, 0, 1, hidden); break;
        case Slot::q: list.matrix(l.qkv, 0, 1, q, hidden); break;
        case Slot::k: list.matrix(l.qkv, q, 1, kv, hidden); break;
        case Slot::v: list.matrix(l.qkv, q + kv, 1, kv, hidden); break;
        case Slot::o: list.matrix(l.o, 0, 1, hidden, q); break;
        case Slot::gate: list.matrix(l.gate_up, 0, 2, inner, hidden); break;
        case Slot::up: list.matrix(l.gate_up, 1, 2, inner, hidden); break;
        case Slot::down: list.matrix(l.down, 0, 1, hidden, inner); break;
        case Slot::q_bias: list.vector(l.qkv_bias, 0, 1, q); break;
        case Slot::k_bias: list.vector(l.qkv_bias, q, 1, kv); break;
        case Slot::v_bias: list.vector(l.qkv_bias, q + kv, 1, kv); break;
        case Slot::o_bias: list.vector(l.o_bias, 0, 1, hidden); break;
        case Slot::gate_bias: list.vector(l.gate_up_bias, 0, 2, inner); break;
        case Slot::up_bias: list.vector(l.gate_up_bias, 1, 2, inner); break;
        case Slot::down_bias: list.vector(l.down_bias, 0, 1, hidden); break;
        default: break;
      }
    }
    return list.targets;
  };

  LoadProgress state;
  std::vector<std::vector<Target>> targets;
  std::vector<Share> shares;
  std::map<std::string, std::unique_ptr<File>> files;
  for (const WeightSource& s : sources) {
    targets.push_back(targets_of(s));
    if (targets.back().empty()) {
      throw Error::checkpoint("Tensor " + s.name + " has no place in this model", s.file, s.name);
    }
    const Target& t = targets.back().front();
    if (s.shape != t.shape() || s.strides.size() != s.shape.size()) {
      throw Error::checkpoint("Tensor " + s.name + " has shape " + shape_text(s.shape) +
                                  ", but config.json makes it " + shape_text(t.shape()),
                              s.file, s.name);
    }
    check_strides(s, t.matrix ? t.matrix->cols() : 0);
    const size_t row_bytes = size_t(t.cols) * size_of(s.dtype);
    state.bytes_total += uint64_t(t.rows) * row_bytes;
    const int64_t per_share =
        t.matrix ? std::max<int64_t>(1, int64_t(kShareBytes / row_bytes)) : t.rows;
    for (int64_t r = 0; r < t.rows; r += per_share) {
      shares.push_back({targets.size() - 1, r, std::min(per_share, t.rows - r)});
    }
    auto& file = files[s.file];
    if (!file) file = std::make_unique<File>(s.file);
  }

  std::mutex mutex;
  std::exception_ptr failure;
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  const auto read_one = [&](const Share& share, Writers& writers) {
    const WeightSource& s = sources[share.source];
    const TensorReader reader(*files.at(s.file), s, cancelled);
    for (const Target& t : targets[share.source]) {
      if (t.matrix) {
        load_matrix(reader, t, share, writers.of(*t.backend));
      } else {
        load_vector(reader, t, mutex);
      }
    }
    const std::scoped_lock lock(mutex);
    state.bytes_loaded +=
        uint64_t(share.count * targets[share.source][0].cols) * size_of(s.dtype);
    state.name = &s.name;
    progress(state);
  };
  const auto work = [&] {
    try {
      Writers writers;
      for (size_t i = next++; i < shares.size() && !failed; i = next++) read_one(shares[i], writers);
      writers.finish();
    } catch (...) {
      const std::scoped_lock lock(mutex);
      if (!failure) failure = std::current_exception();
      failed = true;
    }
  };
  {
    const Readers readers(threads - 1, work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
  synchronize();
}

}  // namespace komt
