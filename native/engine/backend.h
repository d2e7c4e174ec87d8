#pragma once
// What the engine asks of a device. The Llama graph is written once above this interface; the CPU,
// CUDA and emulated CUDA implement it and pass the same tests. Operations are enqueued in order on
// the backend's one queue; a synchronous backend has finished when the call returns. Errors are
// thrown as komt::Error; after a throw the backend stays usable unless its device is poisoned.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/dtype.h"

namespace komt {

/// Tokens in one page of the key/value cache.
inline constexpr int kKvBlockTokens = 64;

/// A row-major matrix in the backend's memory; does not own it.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t rows = 0;
  int64_t cols = 0;

  size_t bytes() const { return size_t(rows) * size_t(cols) * size_of(dtype); }
  float* f32() const { return static_cast<float*>(data); }
};

/// Memory of a backend, given back on destruction. Must not outlive its backend.
class Buffer {
 public:
  virtual ~Buffer() = default;
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 protected:
  Buffer(void* data, size_t bytes) : data_(data), bytes_(bytes) {}
  void* data_;
  size_t bytes_;
};

/// A weight matrix [rows, cols] = [out_features, in_features] in whatever layout its backend likes.
/// Filled through a WeightWriter, read by Backend::linear and Backend::embed.
class Weight {
 public:
  virtual ~Weight() = default;
  DType dtype() const { return dtype_; }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }

 protected:
  Weight(DType dtype, int64_t rows, int64_t cols) : dtype_(dtype), rows_(rows), cols_(cols) {}
  DType dtype_;
  int64_t rows_;
  int64_t cols_;
};

/// One reading thread's way into weights. A file is read straight into memory that the backend takes
/// rows from, and a piece is converted while the next one is read. Must not outlive its backend.
class WeightWriter {
 public:
  virtual ~WeightWriter() = default;
  /// Host memory for the next piece, of at least `bytes`; waits while the backend still reads from it.
  virtual char* reserve(size_t bytes) = 0;
  /// Row i of the memory reserved last (contiguous [count, weight.cols] of type source_dtype) becomes
  /// row first + i * step of the weight, converted to its type. Several writers may store disjoint
  /// rows of one weight at the same time.
  virtual void store_rows(Weight& weight, int64_t first, int64_t step, DType source_dtype,
                          int64_t count) = 0;
  /// Returns when everything stored is in place.
  virtual void finish() = 0;
};

/// Bytes on their way to the host.
class Readback {
 public:
  virtual ~Readback() = default;
  /// The bytes; waits until they are there. Valid while this object lives.
  virtual const void* wait() = 0;
};

/// Where a backend puts the tokens that each step has chosen, for the host to pick up: no copy stands
/// in the queue between two steps. Must not outlive its backend.
class TokenRing {
 public:
  virtual ~TokenRing() = default;
  /// The tokens, int32 [rows], of the next advance() enqueued with this ring. At most kTokenRingSlots
  /// are out at a time, and none when `rows` changes.
  virtual std::unique_ptr<Readback> next(int rows) = 0;
};

inline constexpr int kTokenRingSlots = 4;

/// Recorded operations that can be run again as they are, on the same memory.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual void launch() = 0;
};

struct Capabilities {
  /// Operations return before they are done, and advance() and a token ring are there: decode runs
  /// steps ahead of the host, the sampled tokens feeding the next step on the device.
  bool asynchronous = false;
  /// The key/value cache may be reallocated larger (host memory); otherwise it is sized once.
  bool growable_cache = false;
  /// Type of activations between operations. The residual stream is always float32.
  DType activation = DType::f32;
  /// Type of cached keys and values.
  DType cache = DType::f32;
  /// Inner dimensions of products are padded to a multiple of this with zeros; a backend that asks
  /// for more than 1 fills new weights with zeros.
  int column_alignment = 1;
  /// Tokens worth processing at once: longer prompts are cut into pieces of this length.
  int batch_tokens = 512;
};

struct MemoryInfo {
  uint64_t total = 0;  ///< bytes
  uint64_t free = 0;   ///< bytes
};

/// One ragged batch: the new tokens of all sequences, concatenated. Never any padding.
/// Every pointer is to the backend's memory; operations only read.
struct Batch {
  int num_tokens = 0;
  int num_sequences = 0;
  /// Most new tokens of one sequence; 1 = a pure decode step.
  int max_new_tokens = 0;
  /// Largest entry of kv_lengths (a bound, when the lengths are advanced on the device).
  int max_kv_length = 0;
  /// Entries per sequence in block_table.
  int block_table_stride = 0;
  int32_t* tokens = nullptr;             ///< [num_tokens] ids
  int32_t* positions = nullptr;          ///< [num_tokens] position in the sequence = index in its cache
  int32_t* rope_rows = nullptr;          ///< [num_tokens] row of the rotary table; mostly = positions
  const int32_t* sequence_ids = nullptr; ///< [num_tokens] index of the token's sequence in this batch
  const int32_t* cu_seqlens = nullptr;   ///< [num_sequences + 1] first new token of each sequence
  int32_t* kv_lengths = nullptr;         ///< [num_sequences] cache length once this step's tokens are in
  int32_t* block_table = nullptr;        ///< [num_sequences, block_table_stride] cache pages in order
};

/// One layer's part of the paged cache: keys and values are [pages, num_kv_heads, kKvBlockTokens,
/// head_dim], so that a head's page is contiguous.
struct KvLayer {
  void* keys = nullptr;
  void* values = nullptr;
  DType dtype = DType::f32;
  int num_kv_heads = 0;
  int head_dim = 0;
};

/// RMSNorm: x / sqrt(mean(x^2) + eps) * weight, computed in float32.
struct Norm {
  const float* weight = nullptr;  ///< [hidden]
  float eps = 0;
};

/// Rotary embedding, half-split as in Hugging Face's Llama: (x1, x2) -> (x1 c - x2 s, x2 c + x1 s).
struct RopeTable {
  const float* cos = nullptr;  ///< [table rows, head_dim / 2], scaling factors folded in
  const float* sin = nullptr;
};

enum class Epilogue {
  store,         ///< output[t, n] = y
  residual_add,  ///< output[t, n] += y                      (output float32)
  silu_gate,     ///< output[t, n/2] = silu(y[2i]) * y[2i+1]  (gate and up rows interleaved)
  rope_append,   ///< rows are [q heads | k heads | v heads]: q rotated -> output, k rotated and v -> cache
};

/// y = norm(input) * weight^T + bias, then the epilogue. Accumulation in float32.
struct LinearArgs {
  Tensor input;                  ///< [tokens, weight.cols]; float32 when `norm` is set, else activation type
  const Norm* norm = nullptr;    ///< in front, or none
  const Weight* weight = nullptr;
  const float* bias = nullptr;   ///< [weight.rows] or none; interleaved like the weight's rows
  Epilogue epilogue = Epilogue::store;
  Tensor output;                 ///< see Epilogue; `store` may go to float32 or to the activation type
  // rope_append only:
  const Batch* batch = nullptr;
  RopeTable rope;
  KvLayer kv;
  int num_heads = 0;
};

/// Causal attention of the batch's new tokens over their sequences' cache (which already holds them).
struct AttentionArgs {
  Tensor query;   ///< [tokens, num_heads * head_dim], activation type
  Tensor output;  ///< same shape and type
  const Batch* batch = nullptr;
  KvLayer kv;
  int num_heads = 0;
  float scale = 0;  ///< of the scores, 1/sqrt(head_dim)
  int window = 0;   ///< a token sees itself and window - 1 before it; 0 = all
};

/// Settings of the fused sampler, in the order they are applied (see engine/sampling.h).
struct SamplingParams {
  bool do_sample = false;
  float temperature = 1.0f;
  int top_k = 0;
  double top_p = 1.0;  ///< the complement is taken in double, as Python takes it
  float min_p = 0.0f;
  float typical_p = 1.0f;
  float repetition_penalty = 1.0f;
};

/// What a sampling call has to know of its rows. All arrays are in the backend's memory, so that a
/// recorded call can be replayed for the next step.
struct SampleRows {
  int count = 0;
  const uint64_t* stream_hashes = nullptr;  ///< [count] identity of the sequence for the random numbers
  const uint32_t* stream_lanes = nullptr;   ///< [count]
  uint32_t* steps = nullptr;                ///< [count] index of the new token
  const uint32_t* min_steps = nullptr;      ///< [count] eos may not be chosen while steps is below it
  const int32_t* eos_token_ids = nullptr;   ///< [num_eos]
  int num_eos = 0;
};

struct SampleArgs {
  Tensor logits;                            ///< float32 [rows, vocab]; may be overwritten
  const SamplingParams* params = nullptr;
  SampleRows rows;
  uint64_t seed = 0;
  uint8_t* seen = nullptr;                  ///< [rows, vocab] 1 = id occurred; the chosen id is marked. None if no penalty
  int32_t* tokens = nullptr;                ///< [rows] out, backend memory; -1 = the scores were no numbers,
                                            ///< where a backend can't throw invalid_argument
  float* logprobs = nullptr;                ///< [rows] out, backend memory, or none
};

/// Turns a decode step's state into the next one's without the host. One token a sequence; all arrays
/// are [rows], in the backend's memory.
struct AdvanceArgs {
  const int32_t* sampled = nullptr;  ///< become the next tokens; none where they come from elsewhere.
                                     ///< One below 0 was not chosen: 0 goes on in its place
  int32_t* tokens = nullptr;
  int32_t* positions = nullptr;      ///< these three grow by one
  int32_t* rope_rows = nullptr;
  int32_t* kv_lengths = nullptr;
  uint32_t* steps = nullptr;         ///< of SampleRows, too; or none
  TokenRing* ring = nullptr;         ///< gets `sampled`; or none
  int rows = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;

  /// As users name the device: "cpu", "cuda:0", "cuda-emulated:0".
  virtual std::string name() const = 0;
  virtual const Capabilities& capabilities() const = 0;
  virtual MemoryInfo memory() const = 0;

  // ---- memory -----------------------------------------------------------------------------------
  /// Uninitialised memory, aligned to 256 bytes. Throws out_of_memory; `purpose` goes into the message.
  virtual std::unique_ptr<Buffer> allocate(size_t bytes, const char* purpose) = 0;
  /// Host to backend, ordered with the operations; `source` may be reused on return.
  virtual void upload(void* target, const void* source, size_t bytes) = 0;
  /// Backend to host; returns when the bytes are there.
  virtual void download(void* target, const void* source, size_t bytes) = 0;
  /// Within the backend, ordered with the operations.
  virtual void copy(void* target, const void* source, size_t bytes) = 0;
  /// From another backend's memory to this one's, ordered after the work enqueued on both.
  virtual void copy_from(void* target, Backend& other, const void* source, size_t bytes) = 0;
  virtual void fill_zero(void* target, size_t bytes) = 0;
  virtual void synchronize() = 0;
  /// Starts a download behind what has been enqueued so far.
  virtual std::unique_ptr<Readback> read_back(const void* source, size_t bytes);
  /// Grows whenever memory that operations keep to themselves moves: a graph recorded before may refer
  /// to it and must be recorded anew.
  virtual uint64_t memory_epoch() const { return 0; }

  // ---- weights ----------------------------------------------------------------------------------
  virtual std::unique_ptr<Weight> create_weight(DType dtype, int64_t rows, int64_t cols,
                                                const char* name) = 0;
  /// Any thread. Throws out_of_memory.
  virtual std::unique_ptr<WeightWriter> open_writer() = 0;

  // ---- operations -------------------------------------------------------------------------------
  /// output[t] = table[batch.tokens[t]], float32 [tokens, hidden].
  virtual void embed(const Batch& batch, const Weight& table, Tensor output) = 0;
  virtual void linear(const LinearArgs& args) = 0;
  virtual void attention(const AttentionArgs& args) = 0;
  /// output float32 or activation type.
  virtual void rms_norm(Tensor input, const Norm& norm, Tensor output) = 0;
  /// output[i] = input[rows[i]]; float32, `rows` in backend memory.
  virtual void gather_rows(Tensor input, const int32_t* rows, Tensor output) = 0;
  virtual void sample(const SampleArgs& args) = 0;
  /// Asynchronous backends only, as the next one. `max_rows` of a step.
  virtual std::unique_ptr<TokenRing> create_token_ring(int max_rows);
  virtual void advance(const AdvanceArgs& args);
  /// Records what `record` enqueues instead of running it; it may call operations only, each of which
  /// has run before with the same shapes, so that nothing is allocated. Null where not supported.
  virtual std::unique_ptr<Graph> capture(const std::function<void()>& record);
  /// Copies whole cache pages of one layer: (source, target) pairs in host memory. Targets are distinct.
  virtual void copy_blocks(const KvLayer& kv, std::span<const int32_t> pairs) = 0;
};

}  // namespace komt
