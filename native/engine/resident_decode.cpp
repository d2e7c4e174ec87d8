#include "engine/resident_decode.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "engine/model_internal.h"

namespace komt {

namespace {
/// Least bound of the cache's length; from there it doubles, each time with a new graph.
constexpr int kLeastBound = 512;
}  // namespace

bool ResidentDecode::supported(const Model& model) {
  return model.stages_.size() == 1 &&
         model.stages_.front()->backend->capabilities().asynchronous && !model.config_.rope.dynamic;
}

void ResidentDecode::start(std::span<const BatchRow> rows) {
  Model::Stage& stage = *model_.stages_.front();
  int longest = 0;
  for (const BatchRow& row : rows) longest = std::max(longest, row.first_position + 1);
  kv_bound_ = std::max(kLeastBound, int(std::bit_ceil(unsigned(longest) + 1)));
  model_.reserve_activations(stage);
  batch_ = model_.upload_batch(stage, rows, metadata_, kv_bound_);
  // A bound, not a length: it sizes grids, and must not change while the graph is replayed.
  batch_.max_kv_length = kv_bound_;
  pages_.assign(rows.size() * size_t(batch_.block_table_stride), 0);
  for (size_t r = 0; r < rows.size(); ++r) {
    std::ranges::copy(rows[r].cache->blocks,
                      pages_.begin() + long(r * size_t(batch_.block_table_stride)));
  }
  picked_.resize(rows.size());
  std::iota(picked_.begin(), picked_.end(), 0);
  graph_.reset();
  warm_ = false;
}

void ResidentDecode::resume(std::span<const SequenceCache* const> caches) {
  bool changed = false;
  for (size_t r = 0; r < caches.size(); ++r) {
    const auto& blocks = caches[r]->blocks;
    int32_t* row = pages_.data() + r * size_t(batch_.block_table_stride);
    if (std::equal(blocks.begin(), blocks.end(), row)) continue;
    std::ranges::copy(blocks, row);
    changed = true;
  }
  if (!changed) return;
  model_.stages_.front()->backend->upload(const_cast<int32_t*>(batch_.block_table), pages_.data(),
                                          pages_.size() * sizeof(int32_t));
}

void ResidentDecode::run() {
  model_.run_layers(*model_.stages_.front(), batch_);
  model_.last_tokens_ = batch_.num_tokens;
  logits_ = model_.logits(picked_);
}

Tensor ResidentDecode::step() {
  Backend& backend = *model_.stages_.front()->backend;
  const bool current = backend.memory_epoch() == graph_epoch_;
  if (graph_ && current) {
    graph_->launch();
    return logits_;
  }
  graph_.reset();
  if (warm_ && current) {
    graph_ = backend.capture([this] { run(); });
    if (graph_) {
      graph_->launch();
      return logits_;
    }
  }
  run();
  // What this run allocated is there for the next one.
  graph_epoch_ = backend.memory_epoch();
  warm_ = true;
  return logits_;
}

void ResidentDecode::advance(const int32_t* sampled) {
  AdvanceArgs args;
  args.sampled = sampled;
  args.tokens = const_cast<int32_t*>(batch_.tokens);
  args.positions = const_cast<int32_t*>(batch_.positions);
  args.rope_rows = const_cast<int32_t*>(batch_.rope_rows);
  args.kv_lengths = const_cast<int32_t*>(batch_.kv_lengths);
  args.rows = batch_.num_tokens;
  model_.stages_.front()->backend->advance(args);
}

}  // namespace komt
