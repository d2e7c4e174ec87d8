#pragma once
#include <memory>
#include <span>
#include <vector>

#include "engine/model.h"

namespace komt {

/// Decode steps whose state stays on the device: the sampled tokens become the next step's input and
/// positions advance without the host, which only hands out cache pages. After a first step the
/// launches are recorded as a graph and replayed.
class ResidentDecode {
 public:
  /// Whether a model can be driven this way: one asynchronous backend, no host-computed rotary rows.
  static bool supported(const Model& model);

  explicit ResidentDecode(Model& model) : model_(model) {}

  /// Begins with these rows, one token each, that the host knows. Their caches have room for it.
  void start(std::span<const BatchRow> rows);
  /// Whether sequences of up to `kv_length` tokens can go on without another start().
  bool fits(int kv_length) const { return kv_length <= kv_bound_; }
  /// Goes on with the tokens given to advance(); the caches have been extended by one each.
  void resume(std::span<const SequenceCache* const> caches);
  /// Enqueues the step; logits, float32 [rows, vocab], until the model is used otherwise.
  Tensor step();
  /// Enqueues the turn to the next step, with `sampled` [rows] in the backend's memory.
  void advance(const int32_t* sampled);

 private:
  void run();

  Model& model_;
  Batch batch_;
  std::unique_ptr<Buffer> metadata_;
  int kv_bound_ = 0;
  std::vector<int32_t> pages_;    ///< block table as the device has it
  std::vector<int32_t> picked_;   ///< every row's only token
  Tensor logits_;
  std::unique_ptr<Graph> graph_;
  uint64_t graph_epoch_ = 0;
  bool warm_ = false;  ///< these shapes have run since start()
};

}  // namespace komt
