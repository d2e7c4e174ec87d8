#pragma once
#include <memory>
#include <span>
#include <vector>

#include "engine/model.h"

namespace komt {

/// Decode steps whose state stays on the devices: the chosen tokens become the next step's input and
/// positions advance without the host, which only hands out cache pages and picks the tokens up.
/// After a first step each device's launches are recorded as a graph and replayed.
class ResidentDecode {
 public:
  /// Whether a model can be driven this way: asynchronous backends, no host-computed rotary rows.
  static bool supported(const Model& model);

  /// `max_rows` of a step.
  ResidentDecode(Model& model, int max_rows);
  ~ResidentDecode();

  /// Begins with these rows, one token each, that the host knows; their caches have room for it.
  /// `sampling` is of the same rows and lacks the logits only; what it points to stays.
  void start(std::span<const BatchRow> rows, const SampleArgs& sampling);
  /// Whether sequences of up to `kv_length` tokens can go on without another start().
  bool fits(int kv_length) const { return kv_length <= kv_bound_; }
  /// Goes on behind the step before; the caches have been extended by one each.
  void resume(std::span<const SequenceCache* const> caches);
  /// Enqueues the step and the turn to the next one; the tokens it chooses, int32 [rows].
  std::unique_ptr<Readback> step();

 private:
  struct Part;

  void run(Part& part);
  void launch(Part& part);

  Model& model_;
  SampleArgs sampling_;
  std::vector<std::unique_ptr<Part>> parts_;  ///< one for each stage of the model
  std::unique_ptr<TokenRing> ring_;
  int rows_ = 0;
  int kv_bound_ = 0;
  std::vector<int32_t> pages_;   ///< block table as the devices have it
  std::vector<int32_t> picked_;  ///< every row's only token
};

}  // namespace komt
