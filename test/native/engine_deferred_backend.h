#pragma once
// A device made of the CPU backend: operations are queued and run later, by a thread of their own or
// as late as the interface allows. What an asynchronous backend must not rely on shows here: memory is
// poisoned when it is given out and given back in the order of the queue, captured operations are
// replayed on the addresses they were recorded with, and host memory is gone by the time they run.
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <set>
#include <thread>

#include "backends/cpu/cpu_backend.h"
#include "engine/error.h"
#include "support.h"

namespace komt::test {

/// What a deferred backend did; outlives it.
struct DeferredCounts {
  std::atomic<int> captures{0};
  std::atomic<int> replays{0};
  std::atomic<int> advances{0};
  std::atomic<int> buffers{0};        ///< that live
  std::atomic<int> most_readbacks{0}; ///< waiting at once
};

struct DeferredOptions {
  bool own_thread = false;  ///< else queued work runs when something waits for it
  bool growable_cache = false;
  int batch_tokens = 512;
  DeferredCounts* counts = nullptr;
  int devices = 1;
};

class DeferredBackend : public Backend {
  using Operation = std::function<void()>;

 public:
  explicit DeferredBackend(const DeferredOptions& options)
      : inner_(create_cpu_backend({1, ""})), options_(options) {
    capabilities_.asynchronous = true;
    capabilities_.growable_cache = options.growable_cache;
    capabilities_.column_alignment = 16;
    capabilities_.batch_tokens = options.batch_tokens;
    if (options.own_thread) thread_ = std::thread([this] { work(); });
  }
  ~DeferredBackend() override {
    run_all();
    // What another device has queued may refer to this one.
    for (DeferredBackend* peer : peers_) {
      peer->run_all();
      peer->peers_.erase(this);
    }
    {
      const std::scoped_lock lock(mutex_);
      ending_ = true;
      changed_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
  }

  std::string name() const override { return "deferred"; }
  const Capabilities& capabilities() const override { return capabilities_; }
  MemoryInfo memory() const override { return inner_->memory(); }

  // ---- memory -----------------------------------------------------------------------------------
  std::unique_ptr<Buffer> allocate(size_t bytes, const char* purpose) override {
    forbid_while_recording("allocate");
    auto memory = inner_->allocate(bytes, purpose);
    std::memset(memory->data(), 0xff, bytes);
    return std::make_unique<DeferredBuffer>(*this, std::move(memory));
  }
  void upload(void* target, const void* source, size_t bytes) override {
    forbid_while_recording("upload");
    const auto* from = static_cast<const char*>(source);
    enqueue([=, host = std::vector<char>(from, from + bytes)] {
      std::memcpy(target, host.data(), bytes);
    });
  }
  void download(void* target, const void* source, size_t bytes) override {
    forbid_while_recording("download");
    run_all();
    std::memcpy(target, source, bytes);
  }
  void copy(void* target, const void* source, size_t bytes) override {
    enqueue([=] { std::memmove(target, source, bytes); });
  }
  void copy_from(void* target, Backend& other, const void* source, size_t bytes) override {
    forbid_while_recording("copy_from");
    auto& peer = dynamic_cast<DeferredBackend&>(other);
    peers_.insert(&peer);
    peer.peers_.insert(this);
    const uint64_t written = peer.last_ticket();
    const uint64_t copied = enqueue([=, &peer] {
      peer.run_until(written);
      std::memcpy(target, source, bytes);
    });
    peer.enqueue([this, copied] { run_until(copied); });
  }
  void fill_zero(void* target, size_t bytes) override {
    enqueue([=] { std::memset(target, 0, bytes); });
  }
  void synchronize() override {
    forbid_while_recording("synchronize");
    run_all();
  }
  std::unique_ptr<Readback> read_back(const void* source, size_t bytes) override {
    forbid_while_recording("read_back");
    auto host = std::make_shared<std::vector<char>>(bytes);
    const uint64_t ticket = enqueue([=] { std::memcpy(host->data(), source, bytes); });
    return std::make_unique<DeferredReadback>(*this, ticket, host, host->data());
  }

  // ---- weights ----------------------------------------------------------------------------------
  std::unique_ptr<Weight> create_weight(DType dtype, int64_t rows, int64_t cols,
                                        const char* name) override {
    auto weight = inner_->create_weight(dtype, rows, cols, name);
    store_rows(*inner_, *weight, 0, 1, std::vector<float>(size_t(rows * cols)).data(), DType::f32,
               rows);
    return weight;
  }
  std::unique_ptr<WeightWriter> open_writer() override { return inner_->open_writer(); }

  // ---- operations -------------------------------------------------------------------------------
  void embed(const Batch& batch, const Weight& table, Tensor output) override {
    enqueue([this, batch, &table, output] { inner_->embed(batch, table, output); });
  }
  void linear(const LinearArgs& args) override {
    enqueue([this, args, norm = args.norm ? *args.norm : Norm{},
             batch = args.batch ? *args.batch : Batch{}]() {
      LinearArgs now = args;
      if (args.norm) now.norm = &norm;
      if (args.batch) now.batch = &batch;
      inner_->linear(now);
    });
  }
  void attention(const AttentionArgs& args) override {
    enqueue([this, args, batch = *args.batch] {
      AttentionArgs now = args;
      now.batch = &batch;
      inner_->attention(now);
    });
  }
  void rms_norm(Tensor input, const Norm& norm, Tensor output) override {
    enqueue([this, input, norm, output] { inner_->rms_norm(input, norm, output); });
  }
  void gather_rows(Tensor input, const int32_t* rows, Tensor output) override {
    enqueue([this, input, rows, output] { inner_->gather_rows(input, rows, output); });
  }
  void sample(const SampleArgs& args) override {
    enqueue([this, args, params = *args.params] {
      SampleArgs now = args;
      now.params = &params;
      inner_->sample(now);
    });
  }
  std::unique_ptr<TokenRing> create_token_ring(int max_rows) override {
    return std::make_unique<DeferredRing>(*this, max_rows);
  }
  void advance(const AdvanceArgs& args) override {
    if (options_.counts) ++options_.counts->advances;
    enqueue([args] {
      for (int r = 0; r < args.rows; ++r) {
        if (args.sampled) args.tokens[r] = std::max(args.sampled[r], 0);
        ++args.positions[r];
        ++args.rope_rows[r];
        ++args.kv_lengths[r];
        if (args.steps) ++args.steps[r];
      }
      if (args.ring) static_cast<DeferredRing*>(args.ring)->publish(args.sampled, args.rows);
    });
  }
  std::unique_ptr<Graph> capture(const std::function<void()>& record) override {
    auto operations = std::make_shared<std::vector<Operation>>();
    recording_ = operations.get();
    try {
      record();
    } catch (...) {
      recording_ = nullptr;
      throw;
    }
    recording_ = nullptr;
    if (options_.counts) ++options_.counts->captures;
    return std::make_unique<DeferredGraph>(*this, operations);
  }
  void copy_blocks(const KvLayer& kv, std::span<const int32_t> pairs) override {
    forbid_while_recording("copy_blocks");
    enqueue([this, kv, host = std::vector<int32_t>(pairs.begin(), pairs.end())] {
      inner_->copy_blocks(kv, host);
    });
  }

 private:
  /// Given back when the work queued before has run.
  class DeferredBuffer : public Buffer {
   public:
    DeferredBuffer(DeferredBackend& owner, std::shared_ptr<Buffer> memory)
        : Buffer(memory->data(), memory->bytes()), owner_(owner), memory_(std::move(memory)) {
      if (owner_.options_.counts) ++owner_.options_.counts->buffers;
    }
    ~DeferredBuffer() override {
      if (owner_.options_.counts) --owner_.options_.counts->buffers;
      owner_.enqueue([memory = std::move(memory_)]() mutable { memory.reset(); });
    }

   private:
    DeferredBackend& owner_;
    std::shared_ptr<Buffer> memory_;
  };

  class DeferredRing : public TokenRing {
   public:
    DeferredRing(DeferredBackend& owner, int max_rows)
        : owner_(owner), max_rows_(max_rows), slots_(size_t(kTokenRingSlots * max_rows), -1) {}
    ~DeferredRing() override { owner_.run_all(); }
    std::unique_ptr<Readback> next(int rows) override {
      if (rows > max_rows_) throw Error(ErrorKind::internal, "more rows than the ring takes");
      const int32_t* slot = slots_.data() + size_t(enqueued_++ % kTokenRingSlots) * size_t(rows);
      return std::make_unique<DeferredReadback>(owner_, owner_.last_ticket(), nullptr, slot);
    }
    void publish(const int32_t* tokens, int rows) {
      std::copy_n(tokens, rows, slots_.data() + size_t(published_++ % kTokenRingSlots) * size_t(rows));
    }

   private:
    DeferredBackend& owner_;
    int max_rows_;
    std::vector<int32_t> slots_;
    uint32_t enqueued_ = 0;
    uint32_t published_ = 0;
  };

  /// `host` keeps the bytes, where nothing else does.
  class DeferredReadback : public Readback {
   public:
    DeferredReadback(DeferredBackend& owner, uint64_t ticket, std::shared_ptr<std::vector<char>> host,
                     const void* bytes)
        : owner_(owner), ticket_(ticket), host_(std::move(host)), bytes_(bytes) {
      const int now = ++owner_.readbacks_;
      if (auto* counts = owner_.options_.counts) {
        counts->most_readbacks = std::max(counts->most_readbacks.load(), now);
      }
    }
    ~DeferredReadback() override { --owner_.readbacks_; }
    const void* wait() override {
      owner_.run_until(ticket_);
      return bytes_;
    }

   private:
    DeferredBackend& owner_;
    uint64_t ticket_;
    std::shared_ptr<std::vector<char>> host_;
    const void* bytes_;
  };

  class DeferredGraph : public Graph {
   public:
    DeferredGraph(DeferredBackend& owner, std::shared_ptr<std::vector<Operation>> operations)
        : owner_(owner), operations_(std::move(operations)) {}
    void launch() override {
      if (owner_.options_.counts) ++owner_.options_.counts->replays;
      owner_.enqueue([operations = operations_] {
        for (const Operation& operation : *operations) operation();
      });
    }

   private:
    DeferredBackend& owner_;
    std::shared_ptr<std::vector<Operation>> operations_;
  };

  void forbid_while_recording(const char* what) const {
    if (recording_) throw Error(ErrorKind::internal, std::string(what) + " inside a capture");
  }

  /// Returns the operation's place in the queue.
  uint64_t enqueue(Operation operation) {
    if (recording_) {
      recording_->push_back(std::move(operation));
      return 0;
    }
    const std::scoped_lock lock(mutex_);
    queue_.push_back(std::move(operation));
    changed_.notify_all();
    return ++enqueued_;
  }
  uint64_t last_ticket() {
    const std::scoped_lock lock(mutex_);
    return enqueued_;
  }
  void run_all() { run_until(last_ticket()); }

  /// Returns when `ticket` has run.
  void run_until(uint64_t ticket) {
    if (options_.own_thread) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return finished_ >= ticket; });
    } else {
      while (finished_ < ticket) run_next();
    }
  }
  void run_next() {
    Operation operation;
    {
      const std::scoped_lock lock(mutex_);
      operation = std::move(queue_.front());
      queue_.pop_front();
    }
    operation();
    // What it held goes before it counts as done.
    operation = nullptr;
    const std::scoped_lock lock(mutex_);
    ++finished_;
    changed_.notify_all();
  }
  void work() {
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return ending_ || !queue_.empty(); });
        if (queue_.empty()) return;
      }
      run_next();
    }
  }

  std::unique_ptr<Backend> inner_;
  DeferredOptions options_;
  Capabilities capabilities_;
  int readbacks_ = 0;
  std::vector<Operation>* recording_ = nullptr;
  std::set<DeferredBackend*> peers_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Operation> queue_;  ///< guarded by mutex_, as what follows
  uint64_t enqueued_ = 0;
  uint64_t finished_ = 0;
  bool ending_ = false;
  std::thread thread_;
};

inline std::function<std::vector<std::unique_ptr<Backend>>()> deferred_backends(
    const DeferredOptions& options) {
  return [=] {
    std::vector<std::unique_ptr<Backend>> backends;
    for (int i = 0; i < options.devices; ++i) {
      backends.push_back(std::make_unique<DeferredBackend>(options));
    }
    return backends;
  };
}

}  // namespace komt::test
