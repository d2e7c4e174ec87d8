#include "engine/decode.h"

#include <algorithm>
#include <utility>

#include "engine/error.h"

namespace komt {

namespace {

std::vector<ChunkedForward::Row> prefill_rows(const std::vector<DecodeRow>& rows) {
  std::vector<ChunkedForward::Row> out;
  for (const DecodeRow& row : rows) out.push_back({row.sequence, row.tokens});
  return out;
}

}  // namespace

DecodeJob::DecodeJob(Session& session, DecodeOptions options, OnStep on_step, Done done)
    : session_(session),
      options_(std::move(options)),
      on_step_(std::move(on_step)),
      done_(std::move(done)),
      prefill_(session, prefill_rows(options_.rows)) {
  Model& model = session_.model();
  Backend& backend = model.output_backend();
  const size_t count = options_.rows.size();
  const size_t vocab = size_t(model.config().vocab_size);
  for (const DecodeRow& row : options_.rows) {
    if (row.max_new_tokens < 1) {
      throw Error(ErrorKind::invalid_argument, "max_new_tokens of a row is below 1");
    }
    rows_.push_back({&session_.at(row.sequence), 0, 0, 0, true});
  }
  first_logits_ = backend.allocate(count * vocab * sizeof(float), "logits");
  token_buffer_ = backend.allocate(count * sizeof(int32_t), "sampled tokens");
  if (options_.logprobs) logprob_buffer_ = backend.allocate(count * sizeof(float), "log-probabilities");
  if (options_.sampling.repetition_penalty != 1.0f) {
    std::vector<uint8_t> seen(count * vocab, 0);
    for (size_t r = 0; r < count; ++r) {
      seen_rows_.push_back(r);
      for (const int32_t id : options_.rows[r].history) {
        if (id >= 0 && size_t(id) < vocab) seen[r * vocab + size_t(id)] = 1;
      }
    }
    seen_ = backend.allocate(seen.size(), "repetition mask");
    backend.upload(seen_->data(), seen.data(), seen.size());
  }
}

std::vector<size_t> DecodeJob::active_rows() const {
  std::vector<size_t> active;
  for (size_t r = 0; r < rows_.size(); ++r) {
    if (rows_[r].active) active.push_back(r);
  }
  return active;
}

Job::Progress DecodeJob::advance() {
  if (!prefill_.done()) {
    prefill_step();
    return Progress::worked;
  }
  if (awaiting_) {
    std::vector<bool> stop;
    {
      const std::scoped_lock lock(verdict_mutex_);
      if (verdict_ready_) {
        stop = std::move(verdict_);
        verdict_ready_ = false;
        awaiting_ = false;
      }
    }
    for (size_t r = 0; r < stop.size() && r < rows_.size(); ++r) {
      if (stop[r] && rows_[r].active) finish(rows_[r]);
    }
  }
  if (active_rows().empty() && !awaiting_) {
    done_(nullptr);
    return Progress::done;
  }
  if (have_pending_ && !awaiting_) {
    deliver();
    return Progress::worked;
  }
  if (!have_pending_ && !active_rows().empty()) {
    compute();
    return Progress::worked;
  }
  return Progress::waiting;
}

void DecodeJob::prefill_step() {
  Model& model = session_.model();
  Backend& backend = model.output_backend();
  const size_t row_bytes = size_t(model.config().vocab_size) * sizeof(float);
  std::vector<int32_t> picked;
  std::vector<size_t> picked_rows;
  prefill_.step([&](size_t row, size_t index, int32_t in_chunk) {
    if (index + 1 == prefill_.rows()[row].tokens.size()) {
      picked.push_back(in_chunk);
      picked_rows.push_back(row);
    }
  });
  if (!picked.empty()) {
    const Tensor logits = model.logits(picked);
    for (size_t i = 0; i < picked.size(); ++i) {
      backend.copy(static_cast<char*>(first_logits_->data()) + picked_rows[i] * row_bytes,
                   static_cast<const char*>(logits.data) + i * row_bytes, row_bytes);
    }
  }
  if (!prefill_.done()) return;
  for (Row& row : rows_) row.prompt_end = row.cache->length;
  pending_rows_ = active_rows();
  pending_tokens_.assign(rows_.size(), -1);
  pending_logprobs_.assign(options_.logprobs ? rows_.size() : 0, 0.0f);
  sample({first_logits_->data(), DType::f32, int64_t(rows_.size()), model.config().vocab_size},
         pending_rows_, seen_for(pending_rows_));
  first_logits_.reset();
  have_pending_ = true;
}

void DecodeJob::compute() {
  Model& model = session_.model();
  const std::vector<size_t> active = active_rows();
  uint8_t* seen = seen_for(active);
  pending_rows_ = active;
  pending_tokens_.assign(rows_.size(), -1);
  pending_logprobs_.assign(options_.logprobs ? rows_.size() : 0, 0.0f);
  const size_t slice = size_t(model.max_batch_tokens());
  for (size_t first = 0; first < active.size(); first += slice) {
    const auto rows = std::span(active).subspan(first, std::min(slice, active.size() - first));
    std::vector<BatchRow> batch;
    std::vector<int32_t> picked;
    for (const size_t r : rows) {
      Row& row = rows_[r];
      const int position = row.cache->length;
      model.blocks().extend(*row.cache, 1);
      batch.push_back({row.cache, std::span(&row.last, 1), position, position + 1});
      picked.push_back(int32_t(picked.size()));
    }
    model.forward(batch);
    sample(model.logits(picked), rows, seen ? seen + first * size_t(model.config().vocab_size) : nullptr);
  }
  have_pending_ = true;
}

uint8_t* DecodeJob::seen_for(std::span<const size_t> rows) {
  if (!seen_) return nullptr;
  if (!std::ranges::equal(rows, seen_rows_)) {
    Backend& backend = session_.model().output_backend();
    const size_t vocab = size_t(session_.model().config().vocab_size);
    // Rows only ever leave, so a row moves down and never over one that is still to move.
    size_t from = 0;
    auto* bytes = static_cast<uint8_t*>(seen_->data());
    for (size_t to = 0; to < rows.size(); ++to) {
      while (seen_rows_[from] != rows[to]) ++from;
      if (from != to) backend.copy(bytes + to * vocab, bytes + from * vocab, vocab);
    }
    seen_rows_.assign(rows.begin(), rows.end());
  }
  return static_cast<uint8_t*>(seen_->data());
}

void DecodeJob::sample(Tensor logits, std::span<const size_t> rows, uint8_t* seen) {
  Backend& backend = session_.model().output_backend();
  std::vector<SampleRow> sample_rows;
  for (const size_t r : rows) {
    const DecodeRow& source = options_.rows[r];
    SampleRow row;
    row.stream_hash = source.stream_hash;
    row.stream_lane = source.stream_lane;
    row.step = uint32_t(rows_[r].generated);
    row.mask_eos = rows_[r].generated < options_.min_new_tokens;
    sample_rows.push_back(row);
  }
  SampleArgs args;
  args.logits = logits;
  args.params = &options_.sampling;
  args.rows = sample_rows;
  args.eos_token_ids = options_.eos_token_ids;
  args.seed = options_.seed;
  args.seen = seen;
  args.tokens = static_cast<int32_t*>(token_buffer_->data());
  args.logprobs = options_.logprobs ? static_cast<float*>(logprob_buffer_->data()) : nullptr;
  backend.sample(args);

  std::vector<int32_t> tokens(rows.size());
  backend.download(tokens.data(), token_buffer_->data(), tokens.size() * sizeof(int32_t));
  std::vector<float> logprobs(options_.logprobs ? rows.size() : 0);
  if (options_.logprobs) {
    backend.download(logprobs.data(), logprob_buffer_->data(), logprobs.size() * sizeof(float));
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    pending_tokens_[rows[i]] = tokens[i];
    if (options_.logprobs) pending_logprobs_[rows[i]] = logprobs[i];
  }
}

void DecodeJob::deliver() {
  have_pending_ = false;
  DecodeStep step;
  step.step = step_++;
  step.tokens.assign(rows_.size(), -1);
  step.logprobs.assign(pending_logprobs_.size(), 0.0f);
  bool any = false;
  std::vector<size_t> ended;
  for (const size_t r : pending_rows_) {
    Row& row = rows_[r];
    if (!row.active) continue;  // ended by a verdict after this step was computed
    any = true;
    row.last = pending_tokens_[r];
    ++row.generated;
    step.tokens[r] = row.last;
    if (options_.logprobs) step.logprobs[r] = pending_logprobs_[r];
    const bool eos = std::ranges::find(options_.eos_token_ids, row.last) != options_.eos_token_ids.end();
    if (eos || row.generated >= options_.rows[r].max_new_tokens) ended.push_back(r);
  }
  if (!any) return;
  for (const size_t r : ended) finish(rows_[r]);
  awaiting_ = options_.ask;
  on_step_(step);
}

void DecodeJob::finish(Row& row) {
  row.active = false;
  session_.model().blocks().truncate(*row.cache, row.prompt_end + std::max(row.generated - 1, 0));
}

void DecodeJob::verdict(std::vector<bool> stop) {
  const std::scoped_lock lock(verdict_mutex_);
  verdict_ = std::move(stop);
  verdict_ready_ = true;
}

void DecodeJob::fail(std::exception_ptr error) noexcept {
  if (!prefill_.done()) {
    prefill_.rewind();
  } else {
    for (Row& row : rows_) {
      if (row.active) finish(row);
    }
  }
  done_(error);
}

}  // namespace komt
