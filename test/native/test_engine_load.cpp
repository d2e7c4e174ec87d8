// Loading: every way a checkpoint may lie in a file, and what happens when it is not what it says.
#ifndef _WIN32
#include <sys/stat.h>
#endif

#include "engine_support.h"

namespace komt::test {
namespace {

/// Memory of this process that is in RAM; 0 where the system does not say.
long resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  long total = 0;
  long resident = 0;
  statm >> total >> resident;
  return resident * 4096;
}

std::vector<float> logits_of(const TinyCheckpoint& checkpoint, int backends = 1, int readers = 2) {
  Engine engine;
  const Failure failure = load(engine, checkpoint.config, checkpoint.sources,
                               cpu_backends(1, backends), readers);
  CHECK_THAT(!failure.failed, failure.message);
  const auto session = engine.open_session();
  create(engine, session, {1, 2});
  const Forwarded out = forward(engine, session, {{1, random_tokens(70, 5)}, {2, random_tokens(9, 6)}});
  CHECK_THAT(!out.failure.failed, out.failure.message);
  CHECK(out.logits.size() == size_t(79 * 97));
  for (const float x : out.logits) {
    if (!std::isfinite(x)) return {kNaN};
  }
  return out.logits;
}

TEST("engine load: types and strides do not change the model") {
  for (const bool biases : {false, true}) {
    const std::vector<float> expected = logits_of(TinyCheckpoint(tiny_config(), {}, biases));
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16, DType::f64}) {
      for (const Layout layout :
           {Layout::plain, Layout::padded_rows, Layout::transposed, Layout::sparse}) {
        const TinyCheckpoint checkpoint(
            tiny_config(), [=](Slot, int) { return Storing{dtype, layout}; }, biases);
        CHECK_THAT(logits_of(checkpoint) == expected,
                   std::string(name_of(dtype)) + ", layout " + std::to_string(int(layout)));
      }
    }
    // Each tensor in its own way.
    const TinyCheckpoint mixed(
        tiny_config(),
        [](Slot slot, int layer) {
          const DType types[] = {DType::f32, DType::f16, DType::bf16, DType::f64};
          return Storing{types[(int(slot) + layer) % 4], Layout((int(slot) / 2 + layer) % 4)};
        },
        biases);
    CHECK(logits_of(mixed, 1, 5) == expected);
    // Another seed is another model: the comparison can fail.
    CHECK(logits_of(TinyCheckpoint(tiny_config(), {}, biases, 2)) != expected);
  }
}

TEST("engine load: weights kept in half precision are the same where they are exact") {
  const std::vector<float> expected = logits_of(TinyCheckpoint());
  for (const DType dtype : {DType::f16, DType::bf16}) {
    ModelConfig config = tiny_config();
    config.dtype = dtype;
    for (const DType stored : {DType::f32, DType::f16, DType::bf16, DType::f64}) {
      const TinyCheckpoint checkpoint(config, [=](Slot, int) { return Storing{stored}; });
      CHECK_THAT(logits_of(checkpoint) == expected,
                 std::string(name_of(stored)) + " kept as " + name_of(dtype));
    }
  }
}

TEST("engine load: layers over two backends, tied embeddings at both ends") {
  for (const bool tied : {false, true}) {
    ModelConfig config = tiny_config();
    config.tie_word_embeddings = tied;
    const TinyCheckpoint checkpoint(config);
    CHECK(logits_of(checkpoint, 2) == logits_of(checkpoint, 1));
  }
}

TEST("engine load: progress ends at the sum of all tensors") {
  const TinyCheckpoint checkpoint;
  uint64_t bytes = 0;
  for (const WeightSource& s : checkpoint.sources) {
    uint64_t elements = 1;
    for (const int64_t n : s.shape) elements *= uint64_t(n);
    bytes += elements * 4;
  }
  Engine engine;
  uint64_t last = 0;
  size_t calls = 0;
  bool rising = true;
  const Failure failure =
      load(engine, checkpoint.config, checkpoint.sources, cpu_backends(), 4,
           [&](const LoadProgress& p) {
             rising = rising && p.bytes_loaded > last && p.bytes_total == bytes && p.name;
             last = p.bytes_loaded;
             ++calls;
           });
  CHECK(!failure.failed && rising && last == bytes && calls == checkpoint.sources.size());
}

/// Takes weights and keeps nothing of them, as a device does that has memory of its own.
class ForgetfulBackend : public Backend {
  class Nothing : public Weight {
   public:
    Nothing(DType dtype, int64_t rows, int64_t cols) : Weight(dtype, rows, cols) {}
  };
  class Writer : public WeightWriter {
   public:
    explicit Writer(std::atomic<size_t>& most) : most_(most) {}
    char* reserve(size_t bytes) override {
      if (piece_.size() < bytes) piece_.resize(bytes);
      for (size_t seen = most_; seen < bytes && !most_.compare_exchange_weak(seen, bytes);) {
      }
      return piece_.data();
    }
    void store_rows(Weight&, int64_t, int64_t, DType, int64_t) override {}
    void finish() override {}

   private:
    std::atomic<size_t>& most_;
    std::vector<char> piece_;
  };

 public:
  explicit ForgetfulBackend(std::atomic<size_t>& largest_piece)
      : inner_(create_cpu_backend({1, ""})), largest_piece_(largest_piece) {}
  std::string name() const override { return "forgetful"; }
  const Capabilities& capabilities() const override { return inner_->capabilities(); }
  MemoryInfo memory() const override { return inner_->memory(); }
  std::unique_ptr<Buffer> allocate(size_t bytes, const char* purpose) override {
    return inner_->allocate(bytes, purpose);
  }
  void upload(void* t, const void* s, size_t n) override { inner_->upload(t, s, n); }
  void download(void* t, const void* s, size_t n) override { inner_->download(t, s, n); }
  void copy(void* t, const void* s, size_t n) override { inner_->copy(t, s, n); }
  void copy_from(void* t, Backend& other, const void* s, size_t n) override {
    inner_->copy_from(t, other, s, n);
  }
  void fill_zero(void* t, size_t n) override { inner_->fill_zero(t, n); }
  void synchronize() override {}
  std::unique_ptr<Weight> create_weight(DType dtype, int64_t rows, int64_t cols,
                                        const char*) override {
    return std::make_unique<Nothing>(dtype, rows, cols);
  }
  std::unique_ptr<WeightWriter> open_writer() override {
    return std::make_unique<Writer>(largest_piece_);
  }
  void embed(const Batch&, const Weight&, Tensor) override {}
  void linear(const LinearArgs&) override {}
  void attention(const AttentionArgs&) override {}
  void rms_norm(Tensor, const Norm&, Tensor) override {}
  void gather_rows(Tensor, const int32_t*, Tensor) override {}
  void sample(const SampleArgs&) override {}
  void copy_blocks(const KvLayer&, std::span<const int32_t>) override {}

 private:
  std::unique_ptr<Backend> inner_;
  std::atomic<size_t>& largest_piece_;
};

TEST("engine load: a checkpoint of any size takes a few pieces of host memory") {
  ModelConfig config = tiny_config();
  config.hidden_size = 4096;
  config.vocab_size = 16'000;  // embeddings and head: 250 MiB each in float32
  TinyCheckpoint small;
  std::vector<WeightSource> sources;
  uint64_t end = 24;
  const auto place = [&](Slot slot, int layer, std::vector<int64_t> shape) {
    WeightSource source{slot, layer, "tensor." + std::to_string(int(slot)), DType::f32, shape,
                        shape.size() > 1 ? std::vector<int64_t>{shape[1], 1}
                                         : std::vector<int64_t>{1},
                        small.path, end};
    end += uint64_t(shape[0]) * uint64_t(shape.size() > 1 ? shape[1] : 1) * 4;
    sources.push_back(source);
  };
  place(Slot::embed_tokens, 0, {config.vocab_size, config.hidden_size});
  place(Slot::final_norm, 0, {config.hidden_size});
  place(Slot::lm_head, 0, {config.vocab_size, config.hidden_size});
  const int64_t heads = int64_t(config.num_attention_heads) * config.head_dim;
  const int64_t kv_heads = int64_t(config.num_key_value_heads) * config.head_dim;
  config.num_hidden_layers = 1;
  for (const Slot norm : {Slot::input_norm, Slot::post_attention_norm}) place(norm, 0, {config.hidden_size});
  place(Slot::q, 0, {heads, config.hidden_size});
  for (const Slot slot : {Slot::k, Slot::v}) place(slot, 0, {kv_heads, config.hidden_size});
  place(Slot::o, 0, {config.hidden_size, heads});
  for (const Slot slot : {Slot::gate, Slot::up}) place(slot, 0, {config.intermediate_size, config.hidden_size});
  place(Slot::down, 0, {config.hidden_size, config.intermediate_size});
  // A file with a hole: as long as it says, of no bytes on the disk.
  std::filesystem::resize_file(small.path, end);
  constexpr int kReaders = 4;
  std::atomic<size_t> largest_piece{0};
  Engine engine;
  const long before = resident_bytes();
  std::atomic<long> most{0};
  uint64_t loaded = 0;
  const Failure failure = load(
      engine, config, sources,
      [&] {
        std::vector<std::unique_ptr<Backend>> backends;
        backends.push_back(std::make_unique<ForgetfulBackend>(largest_piece));
        return backends;
      },
      kReaders, [&](const LoadProgress& p) {
        most = std::max(most.load(), resident_bytes() - before);
        loaded = p.bytes_loaded;
      });
  CHECK_THAT(!failure.failed, failure.message);
  CHECK(loaded == end - 24);
  CHECK_THAT(largest_piece <= (size_t(8) << 20), std::to_string(largest_piece));
#ifndef KOMT_SANITIZED  // sanitizers have memory of their own for each byte
  CHECK_THAT(most <= long(kReaders) * (16 << 20), "grew by " + std::to_string(most >> 20) + " MiB");
#endif
}

/// After a failure the engine answers, and says that it holds no model.
void check_unloaded(Engine& engine) {
  const auto session = engine.open_session();
  create(engine, session, {1});
  CHECK(forward(engine, session, {{1, {1, 2}}}).failure.is(ErrorKind::disposed));
}

/// The source of a layer's tensor.
WeightSource& source_of(TinyCheckpoint& checkpoint, Slot slot, int layer = 0) {
  for (WeightSource& source : checkpoint.sources) {
    if (source.slot == slot && source.layer == layer) return source;
  }
  throw std::runtime_error("no such tensor");
}

TEST("engine load: views that repeat their elements are what they say") {
  // Strides of 0 against the same values written out.
  for (const bool rows : {true, false}) {
    TinyCheckpoint view;
    TinyCheckpoint written;
    WeightSource& source = source_of(view, Slot::up);
    const int64_t cols = source.shape[1];
    source.strides = rows ? std::vector<int64_t>{0, 1} : std::vector<int64_t>{cols, 0};
    const WeightSource& plain = source_of(written, Slot::up);
    std::vector<float> values(size_t(plain.shape[0] * cols));
    std::fstream file(written.path, std::ios::in | std::ios::out | std::ios::binary);
    const auto bytes = std::streamsize(values.size() * sizeof(float));
    file.seekg(std::streamoff(plain.offset));
    file.read(reinterpret_cast<char*>(values.data()), bytes);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = values[rows ? i % size_t(cols) : i / size_t(cols) * size_t(cols)];
    }
    file.seekp(std::streamoff(plain.offset));
    file.write(reinterpret_cast<const char*>(values.data()), bytes);
    file.close();
    const std::vector<float> expected = logits_of(written);
    CHECK(expected.size() > 1 && logits_of(view) == expected);
    CHECK(logits_of(TinyCheckpoint()) != expected);
  }
}

TEST("engine load: strides that would be read over and over are refused at once") {
  struct Wrong {
    std::vector<int64_t> strides;
    const char* message;
  };
  const Wrong wrong[] = {
      {{19'000, 1'000}, "tensor.contiguous()"},  // a storage of gigabytes, for 32 columns
      {{1'000, 19'000}, "tensor.contiguous()"},
      {{-1, 1}, "which no file has"},
      {{int64_t(1) << 60, 1}, "which no file has"},
      {{1, int64_t(1) << 62}, "which no file has"},
  };
  for (const Wrong& w : wrong) {
    TinyCheckpoint checkpoint;
    source_of(checkpoint, Slot::embed_tokens).strides = w.strides;
    Engine engine;
    const Failure failure = load(engine, checkpoint.config, checkpoint.sources);
    CHECK(failure.is(ErrorKind::checkpoint) && failure.subject == "tensor.0.0");
    CHECK_THAT(failure.message.find(w.message) != std::string::npos, failure.message);
  }
  TinyCheckpoint far;
  source_of(far, Slot::q).offset = uint64_t(1) << 62;
  Engine engine;
  CHECK(load(engine, far.config, far.sources).is(ErrorKind::checkpoint));
}

TEST("engine load: a vector whose elements are far apart is read one by one") {
  TinyCheckpoint checkpoint;
  WeightSource& source = source_of(checkpoint, Slot::final_norm);
  // The elements 1 MB apart in a file with holes.
  constexpr int64_t kApart = 250'000;
  std::fstream file(checkpoint.path, std::ios::in | std::ios::out | std::ios::binary);
  const uint64_t start = checkpoint.size();
  for (int64_t i = 0; i < source.shape[0]; ++i) {
    float value = 0;
    file.seekg(std::streamoff(source.offset + uint64_t(i) * sizeof(float)));
    file.read(reinterpret_cast<char*>(&value), sizeof(value));
    file.seekp(std::streamoff(start + uint64_t(i * kApart) * sizeof(float)));
    file.write(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  file.close();
  source.offset = start;
  source.strides = {kApart};
  CHECK(logits_of(checkpoint) == logits_of(TinyCheckpoint()));
}

#ifndef _WIN32
TEST("engine load: what is no regular file is refused, not waited for") {
  TinyCheckpoint checkpoint;
  const std::string pipe = checkpoint.path + ".pipe";
  CHECK(mkfifo(pipe.c_str(), 0600) == 0);
  for (const std::string& path : {pipe, std::string("/dev/zero"), std::string("/tmp")}) {
    source_of(checkpoint, Slot::q).file = path;
    Engine engine;
    const Failure failure = load(engine, checkpoint.config, checkpoint.sources);
    CHECK(failure.is(ErrorKind::checkpoint) && failure.file == path);
    CHECK_THAT(failure.message.find("not a regular file") != std::string::npos, failure.message);
  }
  std::filesystem::remove(pipe);
}
#endif

TEST("engine load: a configuration that no model has") {
  const TinyCheckpoint checkpoint;
  const auto refused = [&](const std::function<void(ModelConfig&)>& change) {
    ModelConfig config = checkpoint.config;
    change(config);
    Engine engine;
    // The sizes are refused before anything is allocated by them.
    Mailbox<Failure> done;
    engine.load({config, checkpoint.sources, 1}, cpu_backends(), even_placer(2),
                [](const LoadProgress&) {},
                [&](std::exception_ptr error) { done.put(Failure::of(error)); });
    const Failure failure = done.get();
    CHECK_THAT(failure.is(ErrorKind::invalid_argument), failure.message);
  };
  for (int ModelConfig::*field :
       {&ModelConfig::hidden_size, &ModelConfig::intermediate_size, &ModelConfig::num_hidden_layers,
        &ModelConfig::num_attention_heads, &ModelConfig::num_key_value_heads, &ModelConfig::head_dim,
        &ModelConfig::vocab_size, &ModelConfig::max_position_embeddings}) {
    for (const int value : {0, -1, INT32_MIN, INT32_MAX}) {
      refused([&](ModelConfig& c) { c.*field = value; });
    }
  }
  refused([](ModelConfig& c) { c.cache_tokens = -1; });
  refused([](ModelConfig& c) { c.num_hidden_layers = 3; });  // two are placed
  refused([](ModelConfig& c) { c.num_key_value_heads = 3; });
  refused([](ModelConfig& c) { c.rms_norm_eps = kNaN; });
  refused([](ModelConfig& c) { c.rope.inv_freq.pop_back(); });
  refused([](ModelConfig& c) { c.sliding_window = {-1}; });
}

TEST("engine load: a wrong shape is named") {
  TinyCheckpoint checkpoint;
  for (const size_t i : {size_t(0), size_t(1), size_t(6)}) {
    std::vector<WeightSource> sources = checkpoint.sources;
    sources[i].shape[0] += 1;
    Engine engine;
    const Failure failure = load(engine, checkpoint.config, sources);
    CHECK(failure.is(ErrorKind::checkpoint) && failure.subject == sources[i].name &&
          failure.file == checkpoint.path);
    check_unloaded(engine);
  }
}

TEST("engine load: a tensor without a place, or of a layer that is not there") {
  TinyCheckpoint checkpoint;
  std::vector<WeightSource> sources = checkpoint.sources;
  sources.back().layer = 2;
  Engine engine;
  const Failure failure = load(engine, checkpoint.config, sources);
  CHECK(failure.is(ErrorKind::checkpoint) && failure.subject == sources.back().name);
  check_unloaded(engine);
}

TEST("engine load: a truncated file, a file that is not there") {
  TinyCheckpoint checkpoint;
  for (const size_t cut : {size_t(1), checkpoint.size() / 2, checkpoint.size()}) {
    checkpoint.write(checkpoint.size() - cut);
    Engine engine;
    const Failure failure = load(engine, checkpoint.config, checkpoint.sources, cpu_backends(), 3);
    CHECK(failure.is(ErrorKind::checkpoint) && failure.file == checkpoint.path &&
          !failure.subject.empty());
    check_unloaded(engine);
  }
  std::vector<WeightSource> sources = checkpoint.sources;
  for (WeightSource& s : sources) s.file += ".missing";
  Engine engine;
  const Failure failure = load(engine, checkpoint.config, sources);
  CHECK(failure.is(ErrorKind::checkpoint) && failure.file == checkpoint.path + ".missing");
  check_unloaded(engine);
}

TEST("engine load: cancelled while it reads") {
  const TinyCheckpoint checkpoint;
  Engine engine;
  const Failure failure = load(engine, checkpoint.config, checkpoint.sources, cpu_backends(), 2,
                               [&](const LoadProgress&) { engine.cancel_load(); });
  CHECK(failure.is(ErrorKind::aborted));
  check_unloaded(engine);
}

TEST("engine load: a backend that cannot be created") {
  const TinyCheckpoint checkpoint;
  Engine engine;
  const Failure failure =
      load(engine, checkpoint.config, checkpoint.sources,
           []() -> std::vector<std::unique_ptr<Backend>> {
             throw Error(ErrorKind::device, "no such device");
           });
  CHECK(failure.is(ErrorKind::device));
  check_unloaded(engine);
}

TEST("engine load: disposed before, while and after") {
  const TinyCheckpoint checkpoint;
  for (int round = 0; round < 6; ++round) {
    Engine engine;
    Mailbox<Failure> done;
    const auto start = [&] {
      engine.load({checkpoint.config, checkpoint.sources, 2}, cpu_backends(), even_placer(2),
                  [](const LoadProgress&) {},
                  [&](std::exception_ptr error) { done.put(Failure::of(error)); });
    };
    if (round % 3 == 0) {
      engine.dispose();
      start();
      CHECK(done.get().is(ErrorKind::disposed));
    } else if (round % 3 == 1) {
      start();
      engine.dispose();
      const Failure failure = done.get();
      CHECK(!failure.failed || failure.is(ErrorKind::aborted) || failure.is(ErrorKind::disposed));
    } else {
      start();
      CHECK(!done.get().failed);
      engine.dispose();
      const auto session = engine.open_session();
      CHECK(forward(engine, session, {{1, {1}}}).failure.is(ErrorKind::disposed));
    }
  }
}

}  // namespace
}  // namespace komt::test
