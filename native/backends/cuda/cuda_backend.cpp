#include "backends/cuda/cuda_backend.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <set>

#include "attention/attention.h"
#include "backends/cuda/cuda_runtime.h"
#include "backends/cuda/device_pool.h"
#include "backends/cuda/element_type.h"
#include "backends/cuda/readback.h"
#include "backends/cuda/upload_ring.h"
#include "backends/cuda/weights.h"
#include "common/kv_page.h"
#include "elementwise/advance.h"
#include "elementwise/pages.h"
#include "elementwise/rms_norm.h"
#include "elementwise/rows.h"
#include "engine/error.h"
#include "gemm/linear.h"
#include "sampling/sampling.h"

namespace komt {
namespace cuda {
namespace {

static_assert(kernels::kPageTokens == kKvBlockTokens, "the kernels' pages are the engine's");

class CudaGraph : public Graph {
 public:
  /// Takes `graph`, whatever happens.
  CudaGraph(int device, cudaGraph_t graph, cudaStream_t stream) : device_(device), stream_(stream) {
    const cudaError_t error = cudaGraphInstantiate(&executable_, graph, 0);
    (void)cudaGraphDestroy(graph);
    check(error, "cudaGraphInstantiate");
  }
  ~CudaGraph() override { (void)cudaGraphExecDestroy(executable_); }
  void launch() override {
    const DeviceScope scope(device_);
    check(cudaGraphLaunch(executable_, stream_), "cudaGraphLaunch");
  }

 private:
  int device_;
  cudaStream_t stream_;
  cudaGraphExec_t executable_ = nullptr;
};

class CudaBackend : public Backend {
 public:
  /// With `device` current.
  CudaBackend(int device, DType dtype) : device_(device), upload_ring_(stream_.get()) {
    capabilities_.asynchronous = true;
    capabilities_.activation = dtype;
    capabilities_.cache = dtype;
    capabilities_.column_alignment = 8;
    capabilities_.batch_tokens = 2048;
  }
  ~CudaBackend() override { (void)cudaStreamSynchronize(stream_.get()); }

  std::string name() const override {
    return std::string(kCudaDeviceKind) + ":" + std::to_string(device_);
  }
  const Capabilities& capabilities() const override { return capabilities_; }

  MemoryInfo memory() const override {
    const DeviceScope scope(device_);
    size_t free = 0;
    size_t total = 0;
    check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
    return {total, free};
  }

  // ---- memory -----------------------------------------------------------------------------------
  std::unique_ptr<Buffer> allocate(size_t bytes, const char* purpose) override {
    return pool_.allocate(bytes, purpose);
  }
  uint64_t memory_epoch() const override { return memory_epoch_; }

  std::unique_ptr<Readback> read_back(const void* source, size_t bytes) override {
    const DeviceScope scope(device_);
    return std::make_unique<CudaReadback>(pinned_, source, bytes, stream_.get());
  }

  void upload(void* target, const void* source, size_t bytes) override {
    const DeviceScope scope(device_);
    upload_ring_.upload(target, source, bytes);
  }

  void download(void* target, const void* source, size_t bytes) override {
    const DeviceScope scope(device_);
    check(cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToHost, stream_.get()), "Download");
    check(cudaStreamSynchronize(stream_.get()), "Waiting for the device");
  }

  void copy(void* target, const void* source, size_t bytes) override {
    const DeviceScope scope(device_);
    check(cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToDevice, stream_.get()), "Copy");
  }

  void copy_from(void* target, Backend& other, const void* source, size_t bytes) override {
    const DeviceScope scope(device_);
    if (auto* peer = dynamic_cast<CudaBackend*>(&other)) {
      meet(*peer);
      check(cudaStreamWaitEvent(stream_.get(), peer->mark(), 0), "cudaStreamWaitEvent");
      check(cudaMemcpyPeerAsync(target, device_, source, peer->device_, bytes, stream_.get()),
            "Copying between devices");
      // What the peer does next may overwrite the source: not before the copy is done.
      check(cudaStreamWaitEvent(peer->stream_.get(), mark(), 0), "cudaStreamWaitEvent");
      return;
    }
    staging_.resize(bytes);
    other.download(staging_.data(), source, bytes);
    upload_ring_.upload(target, staging_.data(), bytes);
  }

  void fill_zero(void* target, size_t bytes) override {
    const DeviceScope scope(device_);
    check(cudaMemsetAsync(target, 0, bytes, stream_.get()), "cudaMemset");
  }

  void synchronize() override {
    const DeviceScope scope(device_);
    check(cudaStreamSynchronize(stream_.get()), "Waiting for the device");
  }

  // ---- weights ----------------------------------------------------------------------------------
  std::unique_ptr<Weight> create_weight(DType dtype, int64_t rows, int64_t cols,
                                        const char* name) override {
    if (cols % capabilities_.column_alignment != 0) {
      throw Error(ErrorKind::invalid_argument,
                  std::string("Weight ") + name + " has " + std::to_string(cols) +
                      " columns; the CUDA kernels need a multiple of 8. Use device_map: \"cpu\"");
    }
    auto weight = std::make_unique<CudaWeight>(device_, dtype, rows, cols, name);
    fill_zero(weight->buffer.data(), weight->buffer.bytes());
    // The writers' streams must not be overtaken by these zeros.
    check(cudaStreamSynchronize(stream_.get()), "Waiting for the device");
    return weight;
  }

  std::unique_ptr<WeightWriter> open_writer() override {
    return std::make_unique<CudaWeightWriter>(device_);
  }

  // ---- operations -------------------------------------------------------------------------------
  void embed(const Batch& batch, const Weight& table, Tensor output) override {
    gather(data_of(table), table.dtype(), batch.tokens, output);
  }

  void gather_rows(Tensor input, const int32_t* rows, Tensor output) override {
    gather(input.data, input.dtype, rows, output);
  }

  void rms_norm(Tensor input, const Norm& norm, Tensor output) override {
    const DeviceScope scope(device_);
    kernels::RmsNormArgs args;
    args.input = input.f32();
    args.weight = norm.weight;
    args.output = output.data;
    args.output_type = element_type(output.dtype);
    args.rows = int(input.rows);
    args.hidden = int(input.cols);
    args.eps = norm.eps;
    check(kernels::rms_norm(args, stream_.get()), "rms_norm");
  }

  void linear(const LinearArgs& in) override {
    const DeviceScope scope(device_);
    kernels::LinearArgs args;
    args.type = element_type(in.weight->dtype());
    args.rows = int(in.input.rows);
    args.n = int(in.weight->rows());
    args.k = int(in.weight->cols());
    args.input = in.input.data;
    args.weight = data_of(*in.weight);
    args.bias = in.bias;
    args.output = in.output.data;
    args.output_type = element_type(in.output.dtype);
    args.epilogue = epilogue_of(in.epilogue);
    if (in.epilogue == Epilogue::rope_append) args.rope = rope_of(in);
    if (in.norm != nullptr) {
      if (kernels::linear_fuses_norm(args)) {
        args.norm_weight = in.norm->weight;
        args.norm_eps = in.norm->eps;
      } else {
        args.input = normed(in.input, *in.norm);
      }
    }
    args.programmatic_dependent_launch = true;
    check(kernels::linear(args, stream_.get()), "linear");
  }

  void attention(const AttentionArgs& in) override {
    const DeviceScope scope(device_);
    const Batch& batch = *in.batch;
    const int heads = in.num_heads;
    const int kv_heads = in.kv.num_kv_heads;
    kernels::AttentionArgs args;
    args.type = element_type(in.query.dtype);
    args.query = in.query.data;
    args.output = in.output.data;
    args.keys = in.kv.keys;
    args.values = in.kv.values;
    args.cu_seqlens = batch.cu_seqlens;
    args.kv_lengths = batch.kv_lengths;
    args.block_table = batch.block_table;
    args.block_table_stride = batch.block_table_stride;
    args.num_sequences = batch.num_sequences;
    args.max_new_tokens = batch.max_new_tokens;
    args.max_kv_length = batch.max_kv_length;
    args.num_heads = heads;
    args.num_kv_heads = kv_heads;
    args.head_dim = in.kv.head_dim;
    args.scale = in.scale;
    args.window = in.window;
    const size_t partials = kernels::attention_partial_floats(
        batch.num_sequences, batch.max_kv_length, heads, kv_heads, in.kv.head_dim);
    args.partials =
        static_cast<float*>(scratch(attention_partials_, partials * sizeof(float), "attention"));
    args.tickets = tickets(attention_tickets_,
                           kernels::attention_tickets(batch.num_sequences, heads, kv_heads));
    check(kernels::attention(args, stream_.get()), "attention");
  }

  void sample(const SampleArgs& in) override {
    const DeviceScope scope(device_);
    kernels::SampleArgs args;
    args.logits = in.logits.f32();
    args.rows = in.rows.count;
    args.vocab = int(in.logits.cols);
    args.settings.do_sample = in.params->do_sample;
    args.settings.temperature = in.params->temperature;
    args.settings.top_k = in.params->top_k;
    args.settings.top_p = in.params->top_p;
    args.settings.min_p = in.params->min_p;
    args.settings.typical_p = in.params->typical_p;
    args.settings.repetition_penalty = in.params->repetition_penalty;
    args.eos_token_ids = in.rows.eos_token_ids;
    args.num_eos = in.rows.num_eos;
    args.min_steps = in.rows.min_steps;
    args.steps = in.rows.steps;
    args.seed = in.seed;
    args.stream_hashes = in.rows.stream_hashes;
    args.stream_lanes = in.rows.stream_lanes;
    args.seen = in.seen;
    args.tokens = in.tokens;
    args.logprobs = in.logprobs;
    const size_t workspace =
        kernels::sample_workspace_bytes(args.rows, args.vocab, in.params->do_sample);
    args.workspace = scratch(sample_workspace_, std::max<size_t>(16, workspace), "sampling");
    args.tickets = tickets(sample_tickets_, size_t(args.rows));
    check(kernels::sample(args, stream_.get()), "sample");
  }

  std::unique_ptr<TokenRing> create_token_ring(int max_rows) override {
    const DeviceScope scope(device_);
    return std::make_unique<CudaTokenRing>(*this, max_rows, pinned_, stream_.get());
  }

  void advance(const AdvanceArgs& in) override {
    const DeviceScope scope(device_);
    kernels::AdvanceArgs args;
    args.sampled = in.sampled;
    args.tokens = in.tokens;
    args.positions = in.positions;
    args.rope_rows = in.rope_rows;
    args.kv_lengths = in.kv_lengths;
    args.steps = in.steps;
    args.rows = in.rows;
    if (in.ring != nullptr) {
      const auto& ring = static_cast<const CudaTokenRing&>(*in.ring);
      args.ring = ring.slots();
      args.ring_slots = kTokenRingSlots;
      args.ring_count = ring.count();
      args.ring_next = ring.device_count();
    }
    check(kernels::advance_step(args, stream_.get()), "advance_step");
  }

  std::unique_ptr<Graph> capture(const std::function<void()>& record) override {
    const DeviceScope scope(device_);
    check(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal), "Graph capture");
    cudaGraph_t graph = nullptr;
    try {
      record();
    } catch (...) {
      if (cudaStreamEndCapture(stream_.get(), &graph) == cudaSuccess) (void)cudaGraphDestroy(graph);
      (void)cudaGetLastError();
      throw;
    }
    check(cudaStreamEndCapture(stream_.get(), &graph), "Graph capture");
    try {
      return std::make_unique<CudaGraph>(device_, graph, stream_.get());
    } catch (const std::bad_alloc&) {
      (void)cudaGraphDestroy(graph);  // nobody has taken it
      throw;
    }
  }

  void copy_blocks(const KvLayer& kv, std::span<const int32_t> pairs) override {
    const DeviceScope scope(device_);
    auto* device_pairs = static_cast<int32_t*>(scratch(block_pairs_, pairs.size_bytes(), "page copies"));
    upload_ring_.upload(device_pairs, pairs.data(), pairs.size_bytes());
    kernels::CopyPagesArgs args;
    args.source_keys = kv.keys;
    args.source_values = kv.values;
    args.target_keys = kv.keys;
    args.target_values = kv.values;
    args.source_pages = device_pairs;
    args.target_pages = device_pairs + 1;
    args.index_stride = 2;
    args.count = int(pairs.size() / 2);
    args.page_bytes =
        size_t(kv.num_kv_heads) * kKvBlockTokens * size_t(kv.head_dim) * size_of(kv.dtype);
    check(kernels::copy_pages(args, stream_.get()), "copy_pages");
  }

 private:
  static void* data_of(const Weight& weight) {
    return static_cast<const CudaWeight&>(weight).buffer.data();
  }

  static kernels::LinearEpilogue epilogue_of(Epilogue epilogue) {
    switch (epilogue) {
      case Epilogue::residual_add: return kernels::LinearEpilogue::residual_add;
      case Epilogue::silu_gate: return kernels::LinearEpilogue::silu_gate;
      case Epilogue::rope_append: return kernels::LinearEpilogue::rope_append;
      default: return kernels::LinearEpilogue::store;
    }
  }

  static kernels::RopeAppend rope_of(const LinearArgs& in) {
    kernels::RopeAppend rope;
    rope.positions = in.batch->positions;
    rope.rope_rows = in.batch->rope_rows;
    rope.sequence_ids = in.batch->sequence_ids;
    rope.block_table = in.batch->block_table;
    rope.block_table_stride = in.batch->block_table_stride;
    rope.cos = in.rope.cos;
    rope.sin = in.rope.sin;
    rope.keys = in.kv.keys;
    rope.values = in.kv.values;
    rope.num_heads = in.num_heads;
    rope.num_kv_heads = in.kv.num_kv_heads;
    rope.head_dim = in.kv.head_dim;
    return rope;
  }

  void gather(const void* table, DType dtype, const int32_t* rows, Tensor output) {
    const DeviceScope scope(device_);
    kernels::GatherRowsArgs args;
    args.table = table;
    args.table_type = element_type(dtype);
    args.rows = rows;
    args.output = output.f32();
    args.count = int(output.rows);
    args.cols = int(output.cols);
    check(kernels::gather_rows(args, stream_.get()), "gather_rows");
  }

  /// RMSNorm of a float32 input into scratch of the activation type.
  const void* normed(const Tensor& input, const Norm& norm) {
    const size_t bytes = size_t(input.rows * input.cols) * size_of(capabilities_.activation);
    const Tensor out{scratch(norm_scratch_, bytes, "activations"), capabilities_.activation,
                     input.rows, input.cols};
    rms_norm(input, norm, out);
    return out.data;
  }

  /// Memory that lives until a larger piece is asked for.
  void* scratch(std::unique_ptr<Buffer>& buffer, size_t bytes, const char* purpose) {
    if (bytes == 0) return nullptr;
    if (!buffer || buffer->bytes() < bytes) {
      buffer.reset();
      buffer = allocate(bytes, purpose);
      ++memory_epoch_;
    }
    return buffer->data();
  }

  /// Zeros, as kernels leave them behind.
  uint32_t* tickets(std::unique_ptr<Buffer>& buffer, size_t count) {
    const size_t bytes = count * sizeof(uint32_t);
    if (!buffer || buffer->bytes() < bytes) {
      scratch(buffer, bytes, "tickets");
      fill_zero(buffer->data(), buffer->bytes());
    }
    return static_cast<uint32_t*>(buffer->data());
  }

  /// Before the first copy between two devices: each may reach the other's memory.
  void meet(CudaBackend& peer) {
    if (peer.device_ == device_ || !peers_.insert(peer.device_).second) return;
    enable_peer_access(peer.device_);
    const DeviceScope scope(peer.device_);
    enable_peer_access(device_);
  }

  /// An event behind all that has been enqueued so far, for another device's stream to wait for.
  cudaEvent_t mark() {
    const DeviceScope scope(device_);
    done_.record(stream_.get());
    return done_.get();
  }

  int device_;
  Capabilities capabilities_;
  DevicePool pool_{device_};
  Stream stream_;
  UploadRing upload_ring_;
  Event done_;
  std::set<int> peers_;  ///< devices that have been met
  PinnedPool pinned_;
  uint64_t memory_epoch_ = 0;
  std::vector<char> staging_;
  std::unique_ptr<Buffer> norm_scratch_;
  std::unique_ptr<Buffer> attention_partials_;
  std::unique_ptr<Buffer> attention_tickets_;
  std::unique_ptr<Buffer> sample_workspace_;
  std::unique_ptr<Buffer> sample_tickets_;
  std::unique_ptr<Buffer> block_pairs_;
};

}  // namespace
}  // namespace cuda

std::vector<DeviceInfo> cuda_device_infos() {
  std::vector<DeviceInfo> devices;
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    (void)cudaGetLastError();  // no driver, no device: nothing to list
    return devices;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    DeviceInfo info;
    info.name = std::string(kCudaDeviceKind) + ":" + std::to_string(i);
    info.description = properties.name;
    info.memory_total = properties.totalGlobalMem;
    try {
      const cuda::DeviceScope scope(i);
      size_t free = 0;
      size_t total = 0;
      cuda::check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
      info.memory_free = free;
    } catch (const Error&) {
      continue;  // a device in exclusive use by another process is not one that can be used
    }
    info.features.push_back("sm_" + std::to_string(properties.major) + std::to_string(properties.minor));
    devices.push_back(std::move(info));
  }
  return devices;
}

std::unique_ptr<Backend> create_cuda_backend(int device, DType dtype) {
  if (dtype != DType::f16 && dtype != DType::bf16) {
    throw Error(ErrorKind::invalid_argument,
                std::string("CUDA computes in float16 or bfloat16, not in ") + name_of(dtype) +
                    ". Pass dtype: \"float16\" or \"bfloat16\", or device_map: \"cpu\"");
  }
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || device < 0 || device >= count) {
    (void)cudaGetLastError();
    throw Error(ErrorKind::device, std::string("There is no device ") + kCudaDeviceKind + ":" +
                                       std::to_string(device) + "; the driver offers " +
                                       std::to_string(count));
  }
  const cuda::DeviceScope scope(device);
  return std::make_unique<cuda::CudaBackend>(device, dtype);
}

}  // namespace komt
