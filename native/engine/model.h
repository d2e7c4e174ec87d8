#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/config.h"
#include "engine/kv_cache.h"
#include "engine/rope.h"

namespace komt {

/// Where a checkpoint tensor goes. The order is part of the addon's interface (SLOTS in lib/native/addon.ts).
enum class Slot : int {
  embed_tokens,
  final_norm,
  lm_head,
  input_norm,
  post_attention_norm,
  q,
  k,
  v,
  o,
  gate,
  up,
  down,
  q_bias,
  k_bias,
  v_bias,
  o_bias,
  gate_bias,
  up_bias,
  down_bias,
  count,
};

/// One tensor of a checkpoint: a byte range of a file, possibly strided.
struct WeightSource {
  Slot slot = Slot::count;
  int layer = 0;  ///< ignored by slots outside the layers
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;    ///< [n] or [rows, cols]
  std::vector<int64_t> strides;  ///< in elements
  std::string file;
  uint64_t offset = 0;  ///< bytes, of element 0
};

/// New tokens of one sequence for one pass through the model; the cache has room for them already.
struct BatchRow {
  const SequenceCache* cache = nullptr;  ///< with these tokens included in its length
  std::span<const int32_t> tokens;
  int first_position = 0;
  /// Length of the sequence when the whole call is done; later chunks included (dynamic rotary scaling).
  int final_length = 0;
};

/// Layers [first, last) on one backend.
struct Placement {
  Backend* backend = nullptr;
  int first_layer = 0;
  int last_layer = 0;
};

struct LoadProgress {
  uint64_t bytes_loaded = 0;
  uint64_t bytes_total = 0;
  const std::string* name = nullptr;  ///< tensor of which some has just been read
};

/// The Llama graph: weights, cache storage and activations on one or several backends. Not thread-safe.
class Model {
 public:
  /// Throws invalid_argument for a configuration that is none, or placements that are not all layers.
  Model(ModelConfig config, std::vector<Placement> placements);
  ~Model();

  const ModelConfig& config() const { return config_; }
  Backend& output_backend() const;

  /// Reads every source into place, on `threads` reading threads. `progress` is called under a lock,
  /// from any of them. `cancelled` is looked at every few megabytes. After a throw the model is good
  /// for destruction only.
  void load(std::span<const WeightSource> sources, int threads,
            const std::function<void(const LoadProgress&)>& progress,
            const std::atomic<bool>& cancelled);

  BlockAllocator& blocks() { return *blocks_; }
  /// Waits for everything enqueued on any backend.
  void synchronize();

  /// Most tokens one call of forward takes.
  int max_batch_tokens() const { return max_batch_tokens_; }

  /// Runs the rows' tokens through all layers; the cache then holds them.
  void forward(std::span<const BatchRow> rows);
  /// Logits, float32 [wanted.size(), vocab], of the given tokens of the last forward (indices into its
  /// concatenated tokens). Valid until the next call; in output_backend()'s memory.
  Tensor logits(std::span<const int32_t> wanted);
  /// The same tokens' hidden states after the final norm, float32 [wanted.size(), hidden].
  Tensor hidden(std::span<const int32_t> wanted);

 private:
  friend class ResidentDecode;
  struct Layer;
  struct Stage;

  void allocate_weights(std::span<const WeightSource> sources);
  void update_rope_length(std::span<const BatchRow> rows);
  /// Sends a batch's description to the stage's backend. kv_bound > 0 leaves room in block table and
  /// rotary table for sequences to grow up to it.
  Batch upload_batch(Stage& stage, std::span<const BatchRow> rows, std::unique_ptr<Buffer>& buffer,
                     int kv_bound);
  void reserve_activations(Stage& stage);
  void run_layers(Stage& stage, const Batch& batch);
  /// Sends the residual stream of `tokens` tokens on to the next stage.
  void hand_over(Stage& from, Stage& to, int tokens);
  Tensor gather(std::span<const int32_t> wanted);
  int cache_target(const Stage& stage, int blocks) const;
  int grow_cache(int blocks);
  void copy_cache(std::span<const int32_t> pairs);

  ModelConfig config_;
  std::vector<std::unique_ptr<Stage>> stages_;
  std::unique_ptr<BlockAllocator> blocks_;
  int max_batch_tokens_ = 1 << 30;  ///< the least of the backends' batch_tokens
  int inner_size_ = 0;  ///< intermediate_size, padded as the backends need it
  int last_tokens_ = 0;
  /// Dynamic rotary scaling only: the length the frequencies are stretched to. As in transformers it
  /// belongs to the model: it grows with the longest batch and falls back when a short one comes.
  int rope_length_ = 0;
};

}  // namespace komt
