#pragma once
// A tiny random Llama in a file, and an engine that a test drives from its own thread.
#include <chrono>
#include <cstring>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "engine/decode.h"
#include "engine/engine.h"
#include "engine/error.h"
#include "support.h"

namespace komt::test {

/// Hands one value from the engine's thread to the test's.
template <class T>
class Mailbox {
 public:
  void put(T value) {
    // Notifies under the lock: the receiver may destroy the mailbox as soon as it has the value.
    const std::scoped_lock lock(mutex_);
    values_.push_back(std::move(value));
    filled_.notify_one();
  }
  T get() {
    std::unique_lock lock(mutex_);
    const auto late = std::chrono::system_clock::now() + std::chrono::minutes(2);
    if (!filled_.wait_until(lock, late, [&] { return !values_.empty(); })) {
      throw std::runtime_error("nothing came from the engine for two minutes");
    }
    T value = std::move(values_.front());
    values_.pop_front();
    return value;
  }

 private:
  std::mutex mutex_;
  std::condition_variable filled_;
  std::deque<T> values_;
};

/// An error, read on the thread that caught it: the reference counts of exceptions live in a standard
/// library that sanitizers do not see into.
struct Failure {
  bool failed = false;
  ErrorKind kind = ErrorKind::internal;
  std::string message, file, subject;

  static Failure of(const std::exception_ptr& error) {
    Failure f;
    if (!error) return f;
    f.failed = true;
    try {
      std::rethrow_exception(error);
    } catch (const Error& e) {
      f.kind = e.kind();
      f.message = e.what();
      f.file = e.file();
      f.subject = e.subject();
    } catch (const std::exception& e) {
      f.message = e.what();
    }
    return f;
  }
  bool is(ErrorKind expected) const { return failed && kind == expected; }
};

inline ModelConfig tiny_config() {
  ModelConfig c;
  c.hidden_size = 32;
  c.intermediate_size = 40;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.head_dim = 8;
  c.vocab_size = 97;
  c.max_position_embeddings = 2048;
  for (int i = 0; i < c.head_dim / 2; ++i) {
    c.rope.inv_freq.push_back(1.0f / std::pow(10000.0f, float(2 * i) / float(c.head_dim)));
  }
  return c;
}

/// How a tensor lies in the file.
enum class Layout {
  plain,
  padded_rows,  ///< elements between a row and the next that belong to nobody
  transposed,   ///< rows apart by one element
  sparse,       ///< every second element only
};
struct Storing {
  DType dtype = DType::f32;
  Layout layout = Layout::plain;
};

/// The weights of a tiny model in a temporary file. Values depend on seed and tensor alone and are
/// exact in every type, so that however they are stored the model is the same.
class TinyCheckpoint {
 public:
  using Choose = std::function<Storing(Slot slot, int layer)>;

  explicit TinyCheckpoint(const ModelConfig& c = tiny_config(), const Choose& choose = {},
                          bool biases = false, uint32_t seed = 1)
      : config(c), choose_(choose), seed_(seed) {
    static std::atomic<int> count{0};
    std::random_device device;
    path = (std::filesystem::temp_directory_path() /
            ("komt-native-test-" + std::to_string(device()) + "-" + std::to_string(count++)))
               .string();
    bytes_.assign(24, char(0x7f));  // a header, as files have one
    add(Slot::embed_tokens, 0, {c.vocab_size, c.hidden_size});
    add(Slot::final_norm, 0, {c.hidden_size});
    if (!c.tie_word_embeddings) add(Slot::lm_head, 0, {c.vocab_size, c.hidden_size});
    for (int l = 0; l < c.num_hidden_layers; ++l) {
      add(Slot::input_norm, l, {c.hidden_size});
      add(Slot::post_attention_norm, l, {c.hidden_size});
      add(Slot::q, l, {c.q_rows(), c.hidden_size});
      add(Slot::k, l, {c.kv_rows(), c.hidden_size});
      add(Slot::v, l, {c.kv_rows(), c.hidden_size});
      add(Slot::o, l, {c.hidden_size, c.q_rows()});
      add(Slot::gate, l, {c.intermediate_size, c.hidden_size});
      add(Slot::up, l, {c.intermediate_size, c.hidden_size});
      add(Slot::down, l, {c.hidden_size, c.intermediate_size});
      if (!biases) continue;
      add(Slot::q_bias, l, {c.q_rows()});
      add(Slot::k_bias, l, {c.kv_rows()});
      add(Slot::v_bias, l, {c.kv_rows()});
      add(Slot::o_bias, l, {c.hidden_size});
      add(Slot::gate_bias, l, {c.intermediate_size});
      add(Slot::up_bias, l, {c.intermediate_size});
      add(Slot::down_bias, l, {c.hidden_size});
    }
    write(bytes_.size());
  }
  ~TinyCheckpoint() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
  TinyCheckpoint(const TinyCheckpoint&) = delete;
  TinyCheckpoint& operator=(const TinyCheckpoint&) = delete;

  /// The first `size` bytes become the file.
  void write(size_t size) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out.write(bytes_.data(), std::streamsize(size));
    if (!out) throw std::runtime_error("cannot write " + path);
  }
  size_t size() const { return bytes_.size(); }

  ModelConfig config;
  std::string path;
  std::vector<WeightSource> sources;

 private:
  void add(Slot slot, int layer, std::vector<int64_t> shape) {
    const Storing storing = choose_ ? choose_(slot, layer) : Storing{};
    WeightSource source;
    source.slot = slot;
    source.layer = layer;
    source.name = "tensor." + std::to_string(int(slot)) + "." + std::to_string(layer);
    source.dtype = storing.dtype;
    source.shape = shape;
    source.file = path;
    source.offset = bytes_.size() + 6;  // not aligned to anything but 2
    const int64_t rows = shape[0];
    const int64_t cols = shape.size() > 1 ? shape[1] : 1;
    int64_t row_stride = cols;
    int64_t col_stride = 1;
    if (storing.layout == Layout::padded_rows) row_stride = cols + 3;
    if (storing.layout == Layout::transposed && shape.size() > 1) {
      row_stride = 1;
      col_stride = rows;
    }
    if (storing.layout == Layout::sparse) {
      row_stride = 2 * cols;
      col_stride = 2;
    }
    source.strides = {row_stride};
    if (shape.size() > 1) source.strides.push_back(col_stride);

    const size_t element = size_of(storing.dtype);
    const size_t last = size_t((rows - 1) * row_stride + (cols - 1) * col_stride);
    // What lies between is no number, so that it shows where it is read.
    bytes_.resize(size_t(source.offset) + (last + 1) * element, char(0xff));
    Random random(seed_ * 1000 + uint32_t(slot) * 50 + uint32_t(layer));
    const bool norm = slot == Slot::final_norm || slot == Slot::input_norm ||
                      slot == Slot::post_attention_norm;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        const float value = (norm ? 1.0f : 0.0f) + float(random.integer(-63, 63)) / 128.0f;
        char* at = bytes_.data() + source.offset + size_t(r * row_stride + c * col_stride) * element;
        const double wide = value;
        const uint16_t half = storing.dtype == DType::f16 ? float_to_half(value)
                                                          : float_to_bfloat16(value);
        const void* from = storing.dtype == DType::f32   ? static_cast<const void*>(&value)
                           : storing.dtype == DType::f64 ? static_cast<const void*>(&wide)
                                                         : static_cast<const void*>(&half);
        std::memcpy(at, from, element);
      }
    }
    sources.push_back(std::move(source));
  }

  Choose choose_;
  uint32_t seed_;
  std::vector<char> bytes_;
};

inline Engine::BackendFactory cpu_backends(int threads = 1, int count = 1) {
  return [=] {
    std::vector<std::unique_ptr<Backend>> backends;
    for (int i = 0; i < count; ++i) backends.push_back(create_cpu_backend({threads, ""}));
    return backends;
  };
}

/// Layers in equal parts over the backends.
inline Engine::Placer even_placer(int layers) {
  return [layers](const std::vector<std::unique_ptr<Backend>>& backends) {
    std::vector<Placement> placements;
    const int count = int(backends.size());
    for (int i = 0; i < count; ++i) {
      placements.push_back({backends[size_t(i)].get(), layers * i / count, layers * (i + 1) / count});
    }
    return placements;
  };
}

inline Failure load(Engine& engine, const ModelConfig& config, std::vector<WeightSource> sources,
                    Engine::BackendFactory backends = cpu_backends(), int reader_threads = 2,
                    const std::function<void(const LoadProgress&)>& progress = {}) {
  Mailbox<Failure> done;
  engine.load({config, std::move(sources), reader_threads}, std::move(backends),
              even_placer(config.num_hidden_layers),
              [=](const LoadProgress& p) { if (progress) progress(p); },
              [&](std::exception_ptr error) { done.put(Failure::of(error)); });
  return done.get();
}

/// What a decode gave, a list per row.
struct Decoded {
  std::vector<std::vector<int32_t>> tokens;
  std::vector<std::vector<float>> logprobs;
  int steps = 0;
  Failure failure;
  bool operator==(const Decoded& other) const {
    return tokens == other.tokens && logprobs == other.logprobs && !failure.failed &&
           !other.failure.failed;
  }
};

/// A decode under way. Steps are passed to `on_step` on the engine's thread and collected.
struct Decoding {
  std::shared_ptr<Mailbox<Decoded>> result = std::make_shared<Mailbox<Decoded>>();
  /// A place to meet the job, from when it is made.
  std::shared_ptr<Mailbox<std::shared_ptr<DecodeJob>>> made =
      std::make_shared<Mailbox<std::shared_ptr<DecodeJob>>>();
  Decoded get() const { return result->get(); }
};
using OnStep = std::function<void(const DecodeStep&, DecodeJob&)>;

inline Decoding start_decode(Engine& engine, Engine::SessionId session, DecodeOptions options,
                             OnStep on_step = {}) {
  Decoding decoding;
  auto so_far = std::make_shared<Decoded>();
  so_far->tokens.resize(options.rows.size());
  if (options.logprobs) so_far->logprobs.resize(options.rows.size());
  const auto finish = [so_far, result = decoding.result](const std::exception_ptr& error) {
    so_far->failure = Failure::of(error);
    result->put(*so_far);
  };
  engine.post_job(
      session,
      [=, made = decoding.made, options = std::move(options)](Session& s) -> std::shared_ptr<Job> {
        // The job is known to its steps by a pointer that does not keep it.
        auto self = std::make_shared<std::weak_ptr<DecodeJob>>();
        auto job = std::make_shared<DecodeJob>(
            s, options,
            [=](const DecodeStep& step) {
              ++so_far->steps;
              for (size_t r = 0; r < step.tokens.size(); ++r) {
                if (step.tokens[r] < 0) continue;
                so_far->tokens[r].push_back(step.tokens[r]);
                if (!step.logprobs.empty()) so_far->logprobs[r].push_back(step.logprobs[r]);
              }
              if (on_step) on_step(step, *self->lock());
            },
            finish);
        *self = job;
        made->put(job);
        return job;
      },
      finish);
  return decoding;
}

inline Decoded decode(Engine& engine, Engine::SessionId session, DecodeOptions options,
                      OnStep on_step = {}) {
  return start_decode(engine, session, std::move(options), std::move(on_step)).get();
}

struct Forwarded {
  std::vector<float> logits, hidden;
  Failure failure;
};
inline Forwarded forward(Engine& engine, Engine::SessionId session,
                         std::vector<ChunkedForward::Row> rows,
                         ForwardJob::Wanted wanted = ForwardJob::Wanted::all,
                         bool want_hidden = false) {
  Mailbox<Forwarded> result;
  engine.post_job(
      session,
      [&](Session& s) {
        return std::make_shared<ForwardJob>(
            s, rows, std::vector<ForwardJob::Wanted>(rows.size(), wanted), want_hidden,
            [&](std::exception_ptr error, ForwardJob::Result r) {
              result.put({std::move(r.logits), std::move(r.hidden), Failure::of(error)});
            });
      },
      [&](std::exception_ptr error) { result.put({{}, {}, Failure::of(error)}); });
  return result.get();
}

/// Runs `look` on the engine's thread after what was posted before; gives its answer.
inline int ask_session(Engine& engine, Engine::SessionId session,
                       const std::function<int(Session&)>& look) {
  Mailbox<int> answer;
  engine.post(session, [&](Session& s) { answer.put(look(s)); });
  return answer.get();
}
inline int cached_tokens(Engine& engine, Engine::SessionId session, int handle) {
  return ask_session(engine, session, [=](Session& s) { return s.at(handle).length; });
}
inline int blocks_in_use(Engine& engine, Engine::SessionId session) {
  return ask_session(engine, session, [](Session& s) { return s.model().blocks().blocks_in_use(); });
}
inline void create(Engine& engine, Engine::SessionId session, std::vector<int> handles) {
  engine.post(session, [handles](Session& s) {
    for (const int handle : handles) s.create(handle);
  });
}

inline std::vector<int32_t> random_tokens(int count, uint32_t seed, int vocab = 97) {
  Random random(seed);
  std::vector<int32_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(random.integer(0, vocab - 1));
  return tokens;
}

/// A row over sequence `handle`, its random numbers its own.
inline DecodeRow row_of(int handle, std::vector<int32_t> tokens, int max_new_tokens,
                        uint64_t stream = 0) {
  DecodeRow row;
  row.sequence = handle;
  row.history = tokens;
  row.tokens = std::move(tokens);
  row.stream_hash = stream ? stream : uint64_t(handle) + 17;
  row.max_new_tokens = max_new_tokens;
  return row;
}

/// Sampling with every filter at work.
inline SamplingParams lively_sampling() {
  SamplingParams p;
  p.do_sample = true;
  p.temperature = 1.3f;
  p.top_k = 40;
  p.top_p = 0.95;
  p.repetition_penalty = 1.1f;
  return p;
}

}  // namespace komt::test
