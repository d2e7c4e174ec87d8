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

/// What one stage runs in every step.
struct ResidentDecode::Part {
  explicit Part(Model::Stage& s) : stage(s) {}

  Model::Stage& stage;
  std::unique_ptr<Buffer> metadata;
  Batch batch;
  std::unique_ptr<Graph> graph;
  uint64_t graph_epoch = 0;
  bool warm = false;  ///< these shapes have run since start()
};

bool ResidentDecode::supported(const Model& model) {
  return !model.config().rope.dynamic && std::ranges::all_of(model.stages_, [](const auto& stage) {
    return stage->backend->capabilities().asynchronous;
  });
}

ResidentDecode::ResidentDecode(Model& model, int max_rows)
    : model_(model), ring_(model.output_backend().create_token_ring(max_rows)) {
  for (auto& stage : model_.stages_) parts_.push_back(std::make_unique<Part>(*stage));
}

ResidentDecode::~ResidentDecode() = default;

void ResidentDecode::start(std::span<const BatchRow> rows, const SampleArgs& sampling) {
  sampling_ = sampling;
  rows_ = int(rows.size());
  int longest = 0;
  for (const BatchRow& row : rows) longest = std::max(longest, row.first_position + 1);
  kv_bound_ = std::max(kLeastBound, int(std::bit_ceil(unsigned(longest) + 1)));
  for (auto& part : parts_) {
    model_.reserve_activations(part->stage);
    part->batch = model_.upload_batch(part->stage, rows, part->metadata, kv_bound_);
    // A bound, not a length: it sizes grids, and must not change while the graph is replayed.
    part->batch.max_kv_length = kv_bound_;
    part->graph.reset();
    part->warm = false;
  }
  const size_t stride = size_t(parts_.front()->batch.block_table_stride);
  pages_.assign(rows.size() * stride, 0);
  for (size_t r = 0; r < rows.size(); ++r) {
    std::ranges::copy(rows[r].cache->blocks, pages_.data() + r * stride);
  }
  picked_.resize(rows.size());
  std::iota(picked_.begin(), picked_.end(), 0);
}

void ResidentDecode::resume(std::span<const SequenceCache* const> caches) {
  const size_t stride = size_t(parts_.front()->batch.block_table_stride);
  bool changed = false;
  for (size_t r = 0; r < caches.size(); ++r) {
    const auto& blocks = caches[r]->blocks;
    int32_t* row = pages_.data() + r * stride;
    if (std::equal(blocks.begin(), blocks.end(), row)) continue;
    std::ranges::copy(blocks, row);
    changed = true;
  }
  if (!changed) return;
  for (auto& part : parts_) {
    part->stage.backend->upload(part->batch.block_table, pages_.data(),
                                pages_.size() * sizeof(int32_t));
  }
}

void ResidentDecode::run(Part& part) {
  Backend& backend = *part.stage.backend;
  model_.run_layers(part.stage, part.batch);
  AdvanceArgs turn;
  turn.tokens = part.batch.tokens;
  turn.positions = part.batch.positions;
  turn.rope_rows = part.batch.rope_rows;
  turn.kv_lengths = part.batch.kv_lengths;
  turn.rows = rows_;
  if (part.stage.is_last(model_)) {
    model_.last_tokens_ = rows_;
    SampleArgs sampling = sampling_;
    sampling.logits = model_.logits(picked_);
    backend.sample(sampling);
    turn.sampled = sampling.tokens;
    turn.steps = sampling.rows.steps;
    turn.ring = ring_.get();
  }
  backend.advance(turn);
}

void ResidentDecode::launch(Part& part) {
  Backend& backend = *part.stage.backend;
  const bool current = part.stage.memory_epoch() == part.graph_epoch;
  if (!current) part.graph.reset();
  if (!part.graph && part.warm && current) part.graph = backend.capture([&] { run(part); });
  if (part.graph) return part.graph->launch();
  run(part);
  // What this run allocated is there for the next one.
  part.graph_epoch = part.stage.memory_epoch();
  part.warm = true;
}

std::unique_ptr<Readback> ResidentDecode::step() {
  Part& first = *parts_.front();
  Part& last = *parts_.back();
  Part* before = nullptr;
  for (auto& part : parts_) {
    if (before != nullptr) model_.hand_over(before->stage, part->stage, rows_);
    launch(*part);
    before = part.get();
  }
  if (&first != &last) {
    // Chosen at one end, embedded at the other.
    first.stage.backend->copy_from(first.batch.tokens, *last.stage.backend,
                                   last.batch.tokens, size_t(rows_) * sizeof(int32_t));
  }
  return ring_->next(rows_);
}

}  // namespace komt
