#include "backends/cpu/cpu_backend.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "backends/cpu/cpu_info.h"
#include "backends/cpu/cpu_memory.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/thread_pool.h"
#include "engine/error.h"
#include "engine/sampling.h"

namespace komt {
namespace cpu {
namespace {

static_assert(kPageKeys == kKvBlockTokens);

/// Multiply-adds below which waking other threads costs more than it saves.
constexpr int64_t kParallelWork = 1 << 15;
/// Tokens whose partial sums a thread holds at a time.
constexpr int64_t kMatmulTokens = 512;
/// Scores a thread holds at a time: what stays in the second-level cache.
constexpr int64_t kAttentionScores = 1 << 16;
constexpr int kAttentionTokens = 32;

const Kernels& choose_kernels(const CpuOptions& options) {
  std::string isa = options.isa;
  if (isa.empty()) {
    const char* variable = std::getenv("KOMT_CPU_ISA");
    if (variable) isa = variable;
  }
  const bool avx512 = avx512_kernels() && has_avx512();
  const bool avx2 = avx2_kernels() && has_avx2();
  if (isa.empty()) return avx512 ? *avx512_kernels() : avx2 ? *avx2_kernels() : *generic_kernels();
  if (isa == "generic") return *generic_kernels();
  if (isa == "avx2" && avx2) return *avx2_kernels();
  if (isa == "avx512" && avx512) return *avx512_kernels();
  const bool known = isa == "avx2" || isa == "avx512";
  throw Error(ErrorKind::invalid_argument,
              known ? "This processor has no " + isa + "; leave KOMT_CPU_ISA unset"
                    : "Expected generic, avx2 or avx512 for the instruction set (KOMT_CPU_ISA) "
                      "but received '" + isa + "'");
}

void require(bool condition, const char* what) {
  if (!condition) throw Error(ErrorKind::internal, std::string("CPU backend: ") + what);
}

/// Where a token's keys or values of one head lie.
float* cache_row(void* base, const KvLayer& kv, const Batch& batch, int64_t token, int head) {
  const int64_t position = batch.positions[token];
  const int64_t sequence = batch.sequence_ids[token];
  const int64_t page =
      batch.block_table[sequence * batch.block_table_stride + position / kPageKeys];
  const int64_t row = (page * kv.num_kv_heads + head) * kPageKeys + position % kPageKeys;
  return static_cast<float*>(base) + row * kv.head_dim;
}

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const CpuOptions& options)
      : kernels_(choose_kernels(options)),
        pool_(options.threads > 0 ? options.threads : usable_cores()),
        thread_scratch_(size_t(pool_.size())),
        samplers_(size_t(pool_.size())) {
    capabilities_.growable_cache = true;
  }

  std::string name() const override { return "cpu"; }
  const Capabilities& capabilities() const override { return capabilities_; }
  MemoryInfo memory() const override { return host_memory(); }

  // ---- memory -----------------------------------------------------------------------------------
  std::unique_ptr<Buffer> allocate(size_t bytes, const char* purpose) override {
    return allocate_host(bytes, purpose);
  }
  void upload(void* target, const void* source, size_t bytes) override {
    copy(target, source, bytes);
  }
  void download(void* target, const void* source, size_t bytes) override {
    copy(target, source, bytes);
  }
  void copy(void* target, const void* source, size_t bytes) override {
    if (bytes > 0) std::memmove(target, source, bytes);
  }
  void copy_from(void* target, Backend& other, const void* source, size_t bytes) override {
    other.download(target, source, bytes);
  }
  void fill_zero(void* target, size_t bytes) override {
    if (bytes > 0) std::memset(target, 0, bytes);
  }
  void synchronize() override {}

  // ---- weights ----------------------------------------------------------------------------------
  std::unique_ptr<Weight> create_weight(DType dtype, int64_t rows, int64_t cols,
                                        const char* name) override;
  std::unique_ptr<WeightWriter> open_writer() override;

  // ---- operations -------------------------------------------------------------------------------
  void embed(const Batch& batch, const Weight& table, Tensor output) override;
  void linear(const LinearArgs& args) override;
  void attention(const AttentionArgs& args) override;
  void rms_norm(Tensor input, const Norm& norm, Tensor output) override;
  void gather_rows(Tensor input, const int32_t* rows, Tensor output) override;
  void sample(const SampleArgs& args) override;
  void copy_blocks(const KvLayer& kv, std::span<const int32_t> pairs) override;

 private:
  /// body(begin, end) on parts of [0, count), in parallel if there is work enough.
  template <class Body>
  void for_ranges(int64_t count, int64_t work, const Body& body) {
    if (work < kParallelWork || pool_.size() == 1) return body(0, count);
    pool_.run([&](int thread) {
      const Range range = share_of(count, 1, thread, pool_.size());
      if (range.begin < range.end) body(range.begin, range.end);
    });
  }

  void widen_row(const Weight& weight, int64_t row, float* output) const;
  /// The input as the matmul kernels want it: normalised, rows padded. Sets its stride.
  const float* prepare_input(const LinearArgs& args, int64_t& stride);
  /// Rows [begin, end) of the product, handed to the epilogue block by block.
  void linear_rows(const LinearArgs& args, const float* x, int64_t x_stride, Range rows,
                   float* block, float* products);
  void finish_block(const LinearArgs& args, int64_t token, int64_t tokens, int64_t row,
                    int64_t rows, float* block, int64_t block_stride);
  void rope_append(const LinearArgs& args, const float* products);

  const Kernels& kernels_;
  Capabilities capabilities_;
  ThreadPool pool_;
  Scratch input_scratch_;
  Scratch product_scratch_;
  std::vector<Scratch> thread_scratch_;
  std::vector<Sampler> samplers_;
};

std::unique_ptr<Weight> CpuBackend::create_weight(DType dtype, int64_t rows, int64_t cols,
                                                  const char* name) {
  if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16)
    throw Error(ErrorKind::invalid_argument, std::string("Expected float32, float16 or bfloat16 for ") +
                                                 name + " but received " + name_of(dtype));
  return std::make_unique<CpuWeight>(dtype, rows, cols, name);
}

/// Converts on the thread that reads.
class CpuWriter : public WeightWriter {
 public:
  explicit CpuWriter(const Kernels& kernels) : kernels_(kernels) {}
  char* reserve(size_t bytes) override {
    if (piece_.size() < bytes) piece_.resize(bytes);
    return piece_.data();
  }
  void store_rows(Weight& weight, int64_t first, int64_t step, DType source_dtype,
                  int64_t count) override;
  void finish() override {}

 private:
  const Kernels& kernels_;
  std::vector<char> piece_;
};

std::unique_ptr<WeightWriter> CpuBackend::open_writer() {
  return std::make_unique<CpuWriter>(kernels_);
}

void CpuWriter::store_rows(Weight& weight, int64_t first, int64_t step, DType source_dtype,
                           int64_t count) {
  const CpuWeight& target = static_cast<CpuWeight&>(weight);
  const int64_t cols = weight.cols();
  const DType dtype = weight.dtype();
  std::vector<float> wide(source_dtype == dtype ? 0 : size_t(cols));
  for (int64_t i = 0; i < count; ++i) {
    const char* from = piece_.data() + size_t(i * cols) * size_of(source_dtype);
    std::byte* to = target.row(first + i * step);
    if (source_dtype == dtype) {
      std::memcpy(to, from, size_t(cols) * size_of(dtype));
    } else {
      float* row = dtype == DType::f32 ? reinterpret_cast<float*>(to) : wide.data();
      switch (source_dtype) {
        case DType::f16:
          kernels_.half_to_float(reinterpret_cast<const Half*>(from), cols, row);
          break;
        case DType::bf16:
          kernels_.bfloat16_to_float(reinterpret_cast<const Bfloat16*>(from), cols, row);
          break;
        case DType::f64:
          for (int64_t j = 0; j < cols; ++j) row[j] = float(reinterpret_cast<const double*>(from)[j]);
          break;
        default:
          std::memcpy(row, from, size_t(cols) * sizeof(float));
      }
      if (dtype == DType::f16) kernels_.float_to_half(row, cols, reinterpret_cast<Half*>(to));
      if (dtype == DType::bf16)
        kernels_.float_to_bfloat16(row, cols, reinterpret_cast<Bfloat16*>(to));
    }
    std::memset(to + size_t(cols) * size_of(dtype), 0,
                size_t(target.stride() - cols) * size_of(dtype));
  }
}

void CpuBackend::widen_row(const Weight& weight, int64_t row, float* output) const {
  const std::byte* from = static_cast<const CpuWeight&>(weight).row(row);
  const int64_t cols = weight.cols();
  if (weight.dtype() == DType::f16) {
    kernels_.half_to_float(reinterpret_cast<const Half*>(from), cols, output);
  } else if (weight.dtype() == DType::bf16) {
    kernels_.bfloat16_to_float(reinterpret_cast<const Bfloat16*>(from), cols, output);
  } else {
    std::memcpy(output, from, size_t(cols) * sizeof(float));
  }
}

void CpuBackend::embed(const Batch& batch, const Weight& table, Tensor output) {
  require(output.dtype == DType::f32 && output.cols == table.cols(), "embed: output");
  for_ranges(batch.num_tokens, batch.num_tokens * output.cols, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      widen_row(table, batch.tokens[t], output.f32() + t * output.cols);
  });
}

const float* CpuBackend::prepare_input(const LinearArgs& args, int64_t& stride) {
  const Tensor& input = args.input;
  stride = CpuWeight::stride_of(input.cols);
  if (!args.norm && stride == input.cols) return input.f32();
  float* rows = input_scratch_.floats(size_t(input.rows * stride));
  for_ranges(input.rows, input.rows * stride, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* from = input.f32() + t * input.cols;
      float* to = rows + t * stride;
      if (args.norm) {
        kernels_.rms_norm(from, args.norm->weight, args.norm->eps, input.cols, to);
      } else {
        std::memcpy(to, from, size_t(input.cols) * sizeof(float));
      }
      std::fill(to + input.cols, to + stride, 0.0f);
    }
  });
  return rows;
}

void CpuBackend::finish_block(const LinearArgs& args, int64_t token, int64_t tokens, int64_t row,
                              int64_t rows, float* block, int64_t block_stride) {
  for (int64_t t = 0; t < tokens; ++t) {
    float* y = block + t * block_stride;
    if (args.bias) {
      for (int64_t r = 0; r < rows; ++r) y[r] += args.bias[row + r];
    }
    float* out = args.output.f32() + (token + t) * args.output.cols;
    if (args.epilogue == Epilogue::silu_gate) {
      kernels_.silu_gate(y, rows / 2, out + row / 2);
    } else if (args.epilogue == Epilogue::residual_add) {
      for (int64_t r = 0; r < rows; ++r) out[row + r] += y[r];
    } else {
      std::memcpy(out + row, y, size_t(rows) * sizeof(float));
    }
  }
}

void CpuBackend::linear_rows(const LinearArgs& args, const float* x, int64_t x_stride, Range rows,
                             float* block, float* products) {
  const CpuWeight& weight = static_cast<const CpuWeight&>(*args.weight);
  const auto matmul = weight.dtype() == DType::f16    ? kernels_.matmul_f16
                      : weight.dtype() == DType::bf16 ? kernels_.matmul_bf16
                                                      : kernels_.matmul_f32;
  for (int64_t token = 0; token < args.input.rows; token += kMatmulTokens) {
    const int64_t tokens = std::min(kMatmulTokens, args.input.rows - token);
    const int64_t block_rows = tokens <= kernels_.stream_tokens ? kStreamRows : kMatmulRows;
    for (int64_t row = rows.begin; row < rows.end; row += block_rows) {
      MatmulTask task;
      task.x = x + token * x_stride;
      task.x_stride = x_stride;
      task.tokens = tokens;
      task.w = weight.row(row);
      task.w_stride = weight.stride();
      task.rows = std::min(block_rows, rows.end - row);
      task.k = weight.stride();
      task.y = products ? products + token * weight.rows() + row : block;
      task.y_stride = products ? weight.rows() : block_rows;
      matmul(task);
      if (!products) finish_block(args, token, tokens, row, task.rows, block, block_rows);
    }
  }
}

void CpuBackend::linear(const LinearArgs& args) {
  require(args.input.dtype == DType::f32 && args.output.dtype == DType::f32, "linear: dtype");
  require(args.input.cols == args.weight->cols(), "linear: input and weight differ in width");
  const int64_t tokens = args.input.rows;
  const int64_t rows = args.weight->rows();
  const bool rope = args.epilogue == Epilogue::rope_append;
  const int64_t out_cols = rope ? int64_t(args.num_heads) * args.kv.head_dim
                           : args.epilogue == Epilogue::silu_gate ? rows / 2
                                                                  : rows;
  require(args.output.cols == out_cols && args.output.rows >= tokens, "linear: output shape");
  require(!rope || rows == int64_t(args.num_heads + 2 * args.kv.num_kv_heads) * args.kv.head_dim,
          "linear: rows are not query, key and value heads");
  if (tokens == 0) return;

  int64_t x_stride = 0;
  const float* x = prepare_input(args, x_stride);
  float* products = rope ? product_scratch_.floats(size_t(tokens * rows)) : nullptr;
  const size_t scratch = size_t(std::max(std::min(tokens, kMatmulTokens) * kMatmulRows,
                                         std::min(tokens, kernels_.stream_tokens) * kStreamRows));

  // Whole blocks for each thread where there are many; pairs of rows must stay together anyway.
  const bool parallel = pool_.size() > 1 && tokens * rows * x_stride >= kParallelWork;
  const int threads = parallel ? pool_.size() : 1;
  const int64_t unit = rows >= kMatmulRows * 8 * threads ? kMatmulRows : 8;
  for (int i = 0; i < threads; ++i) thread_scratch_[size_t(i)].floats(scratch);
  const auto part = [&](int thread) {
    linear_rows(args, x, x_stride, share_of(rows, unit, thread, threads),
                thread_scratch_[size_t(thread)].floats(scratch), products);
  };
  if (parallel) {
    pool_.run(part);
  } else {
    part(0);
  }
  if (rope) rope_append(args, products);
}

void CpuBackend::rope_append(const LinearArgs& args, const float* products) {
  const Batch& batch = *args.batch;
  const KvLayer& kv = args.kv;
  require(kv.dtype == DType::f32 && batch.num_tokens == args.input.rows, "linear: rope_append");
  const int64_t head_dim = kv.head_dim;
  const int64_t rows = args.weight->rows();
  const int heads = args.num_heads + 2 * kv.num_kv_heads;
  for_ranges(int64_t(batch.num_tokens) * heads, batch.num_tokens * rows,
             [&](int64_t begin, int64_t end) {
    std::vector<float> biased(args.bias ? size_t(head_dim) : 0);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t t = i / heads;
      const int head = int(i % heads);
      const float* y = products + t * rows + head * head_dim;
      if (args.bias) {
        for (int64_t d = 0; d < head_dim; ++d)
          biased[size_t(d)] = y[d] + args.bias[head * head_dim + d];
        y = biased.data();
      }
      const int kv_head = head - args.num_heads;
      if (kv_head >= kv.num_kv_heads) {
        std::memcpy(cache_row(kv.values, kv, batch, t, kv_head - kv.num_kv_heads), y,
                    size_t(head_dim) * sizeof(float));
        continue;
      }
      float* out = kv_head >= 0 ? cache_row(kv.keys, kv, batch, t, kv_head)
                                : args.output.f32() + t * args.output.cols + head * head_dim;
      const int64_t angles = batch.rope_rows[t] * (head_dim / 2);
      kernels_.rotate(y, args.rope.cos + angles, args.rope.sin + angles, head_dim / 2, out);
    }
  });
}

void CpuBackend::attention(const AttentionArgs& args) {
  const Batch& batch = *args.batch;
  const KvLayer& kv = args.kv;
  require(args.query.dtype == DType::f32 && args.output.dtype == DType::f32 &&
              kv.dtype == DType::f32,
          "attention: dtype");
  require(kv.num_kv_heads > 0 && args.num_heads % kv.num_kv_heads == 0, "attention: heads");
  if (batch.num_tokens == 0) return;

  // Queries that share a key/value head go together, unless that leaves threads without work.
  const int group = args.num_heads / kv.num_kv_heads;
  const bool together = batch.num_sequences * kv.num_kv_heads >= pool_.size();
  const int heads = together ? group : 1;
  const int head_groups = args.num_heads / heads;
  const int64_t span = (int64_t(batch.max_kv_length) / kPageKeys + 1) * kPageKeys;
  const int chunk =
      int(std::clamp<int64_t>(kAttentionScores / (span * heads), 1, kAttentionTokens));
  const size_t scratch = size_t(span) * size_t(chunk) * size_t(heads);

  struct Chunk {
    int sequence, token, tokens;
  };
  std::vector<Chunk> chunks;
  int64_t work = 0;
  for (int s = 0; s < batch.num_sequences; ++s) {
    for (int t = batch.cu_seqlens[s]; t < batch.cu_seqlens[s + 1]; t += chunk)
      chunks.push_back({s, t, std::min(chunk, batch.cu_seqlens[s + 1] - t)});
    work += int64_t(batch.cu_seqlens[s + 1] - batch.cu_seqlens[s]) * batch.kv_lengths[s];
  }
  const bool parallel = pool_.size() > 1 && work * args.query.cols >= kParallelWork;
  const int threads = parallel ? pool_.size() : 1;
  for (int i = 0; i < threads; ++i) thread_scratch_[size_t(i)].floats(scratch);

  const int64_t tasks = int64_t(chunks.size()) * head_groups;
  const auto part = [&](int thread) {
    // Round robin: later chunks of a sequence have more keys than earlier ones.
    for (int64_t i = thread; i < tasks; i += threads) {
      const Chunk& c = chunks[size_t(i % int64_t(chunks.size()))];
      const int head = int(i / int64_t(chunks.size())) * heads;
      const int64_t kv_offset = int64_t(head / group) * kPageKeys * kv.head_dim;
      const int64_t offset = c.token * args.query.cols + int64_t(head) * kv.head_dim;
      AttentionTask task;
      task.query = args.query.f32() + offset;
      task.output = args.output.f32() + offset;
      task.token_stride = args.query.cols;
      task.positions = batch.positions + c.token;
      task.tokens = c.tokens;
      task.heads = heads;
      task.head_dim = kv.head_dim;
      task.pages = batch.block_table + int64_t(c.sequence) * batch.block_table_stride;
      task.keys = static_cast<const float*>(kv.keys) + kv_offset;
      task.values = static_cast<const float*>(kv.values) + kv_offset;
      task.page_stride = int64_t(kv.num_kv_heads) * kPageKeys * kv.head_dim;
      task.scale = args.scale;
      task.window = args.window;
      task.scores = thread_scratch_[size_t(thread)].floats(scratch);
      task.score_stride = span;
      kernels_.attention(task);
    }
  };
  if (parallel) {
    pool_.run(part);
  } else {
    part(0);
  }
}

void CpuBackend::rms_norm(Tensor input, const Norm& norm, Tensor output) {
  require(input.dtype == DType::f32 && output.dtype == DType::f32, "rms_norm: dtype");
  for_ranges(input.rows, input.rows * input.cols, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      kernels_.rms_norm(input.f32() + t * input.cols, norm.weight, norm.eps, input.cols,
                        output.f32() + t * output.cols);
  });
}

void CpuBackend::gather_rows(Tensor input, const int32_t* rows, Tensor output) {
  require(input.dtype == DType::f32 && output.dtype == DType::f32 && input.cols == output.cols,
          "gather_rows: shapes");
  for (int64_t i = 0; i < output.rows; ++i)
    std::memcpy(output.f32() + i * output.cols, input.f32() + rows[i] * input.cols,
                size_t(output.cols) * sizeof(float));
}

void CpuBackend::sample(const SampleArgs& args) {
  const int64_t rows = args.rows.count;
  const int64_t vocab = args.logits.cols;
  require(args.logits.dtype == DType::f32 && args.logits.rows >= rows, "sample: logits");
  const auto sample_row = [&](Sampler& sampler, int64_t r) {
    SampleRequest request;
    request.scores = args.logits.f32() + r * vocab;
    request.vocab = int(vocab);
    request.params = args.params;
    request.row = {args.rows.stream_hashes[r], args.rows.stream_lanes[r], args.rows.steps[r]};
    request.mask_eos = request.row.step < args.rows.min_steps[r];
    request.eos_token_ids = {args.rows.eos_token_ids, size_t(args.rows.num_eos)};
    request.seed = args.seed;
    request.seen = args.seen ? args.seen + r * vocab : nullptr;
    request.want_logprob = args.logprobs != nullptr;
    const SampleResult result = sampler.sample(request);
    args.tokens[r] = result.token;
    if (args.logprobs) args.logprobs[r] = result.logprob;
  };
  if (rows == 1) return sample_row(samplers_[0], 0);
  pool_.run([&](int thread) {
    for (int64_t r = thread; r < rows; r += pool_.size()) sample_row(samplers_[size_t(thread)], r);
  });
}

void CpuBackend::copy_blocks(const KvLayer& kv, std::span<const int32_t> pairs) {
  const size_t bytes =
      size_t(kv.num_kv_heads) * kPageKeys * size_t(kv.head_dim) * size_of(kv.dtype);
  for (size_t i = 0; i + 1 < pairs.size(); i += 2) {
    for (void* pages : {kv.keys, kv.values}) {
      std::byte* base = static_cast<std::byte*>(pages);
      std::memcpy(base + size_t(pairs[i + 1]) * bytes, base + size_t(pairs[i]) * bytes, bytes);
    }
  }
}

}  // namespace
}  // namespace cpu

std::unique_ptr<Backend> create_cpu_backend(const CpuOptions& options) {
  return std::make_unique<cpu::CpuBackend>(options);
}

}  // namespace komt
