#include "engine/decode.h"

#include <algorithm>
#include <numeric>
#include <string>
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
      throw Error(ErrorKind::invalid_argument, "Expected at least 1 for max_new_tokens of a row, found " +
                                                   std::to_string(row.max_new_tokens));
    }
    Row state;
    state.cache = &session_.at(row.sequence);
    state.prompt_end = state.cache->length + int(row.tokens.size());
    rows_.push_back(state);
  }
  first_logits_ = backend.allocate(count * vocab * sizeof(float), "logits");
  token_buffer_ = backend.allocate(count * sizeof(int32_t), "sampled tokens");
  if (options_.logprobs) logprob_buffer_ = backend.allocate(count * sizeof(float), "log-probabilities");
  sample_state_.emplace(backend, int(count), options_.eos_token_ids,
                        uint32_t(std::max(options_.min_new_tokens, 0)));
  if (ResidentDecode::supported(model)) resident_.emplace(model, int(count));
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

bool DecodeJob::any_active() const {
  return std::ranges::any_of(rows_, [](const Row& row) { return row.active; });
}

std::vector<size_t> DecodeJob::rows_to_launch() const {
  std::vector<size_t> rows;
  for (size_t r = 0; r < rows_.size(); ++r) {
    if (rows_[r].active && rows_[r].launched < options_.rows[r].max_new_tokens) rows.push_back(r);
  }
  return rows;
}

Job::Progress DecodeJob::advance() {
  if (!prefill_.done()) {
    prefill_step();
    return Progress::worked;
  }
  take_verdict();
  if (!any_active() && !awaiting_) {
    give_back();
    done_(nullptr);
    return Progress::done;
  }
  if (const std::vector<size_t> rows = rows_to_launch(); can_launch(rows)) {
    launch(rows);
    return Progress::worked;
  }
  if (!awaiting_ && !flights_.empty()) {
    deliver();
    return Progress::worked;
  }
  return Progress::waiting;
}

void DecodeJob::take_verdict() {
  if (!awaiting_) return;
  std::vector<bool> stop;
  {
    const std::scoped_lock lock(verdict_mutex_);
    if (!verdict_ready_) return;
    stop = std::move(verdict_);
    verdict_ready_ = false;
    awaiting_ = false;
  }
  for (size_t r = 0; r < stop.size() && r < rows_.size(); ++r) {
    if (stop[r] && rows_[r].active) finish(rows_[r]);
  }
}

bool DecodeJob::can_launch(const std::vector<size_t>& rows) const {
  if (rows.empty()) return false;
  if (flights_.empty()) return true;
  // A second step in flight has its input on the device alone: same rows, and room for them.
  if (!resident_ || flights_.size() > 1 || rows != resident_rows_) return false;
  int longest = 0;
  for (const size_t r : rows) longest = std::max(longest, rows_[r].cache->length + 1);
  return resident_->fits(longest);
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
  sample({first_logits_->data(), DType::f32, int64_t(rows_.size()), model.config().vocab_size},
         rows_to_launch());
}

void DecodeJob::launch(const std::vector<size_t>& rows) {
  for (const size_t r : rows) session_.model().blocks().extend(*rows_[r].cache, 1);
  if (resident_ && rows.size() <= size_t(session_.model().max_batch_tokens())) {
    launch_resident(rows);
  } else {
    launch_from_host(rows);
  }
}

void DecodeJob::launch_resident(const std::vector<size_t>& rows) {
  if (flights_.empty()) {
    resident_rows_ = rows;
    resident_->start(batch_of(rows), sampling_of(rows));
  } else {
    std::vector<const SequenceCache*> caches;
    for (const size_t r : rows) caches.push_back(rows_[r].cache);
    resident_->resume(caches);
  }
  take_off(rows, resident_->step());
}

void DecodeJob::launch_from_host(std::span<const size_t> rows) {
  resident_rows_.clear();
  Model& model = session_.model();
  const size_t slice = size_t(model.max_batch_tokens());
  const size_t row_bytes = size_t(model.config().vocab_size) * sizeof(float);
  std::unique_ptr<Buffer> gathered;
  Tensor logits;
  for (size_t first = 0; first < rows.size(); first += slice) {
    const std::vector<BatchRow> batch =
        batch_of(rows.subspan(first, std::min(slice, rows.size() - first)));
    std::vector<int32_t> picked(batch.size());
    std::iota(picked.begin(), picked.end(), 0);
    model.forward(batch);
    logits = model.logits(picked);
    if (rows.size() <= slice) break;
    // More rows than a batch takes: their logits are gathered and sampled at once.
    Backend& backend = model.output_backend();
    if (!gathered) gathered = backend.allocate(rows.size() * row_bytes, "logits");
    backend.copy(static_cast<char*>(gathered->data()) + first * row_bytes, logits.data,
                 logits.bytes());
  }
  if (gathered) {
    logits = {gathered->data(), DType::f32, int64_t(rows.size()), model.config().vocab_size};
  }
  sample(logits, rows);
  if (gathered) model.output_backend().synchronize();  // before its memory goes
}

std::vector<BatchRow> DecodeJob::batch_of(std::span<const size_t> rows) const {
  std::vector<BatchRow> batch;
  for (const size_t r : rows) {
    const Row& row = rows_[r];
    const int position = row.cache->length - 1;
    batch.push_back({row.cache, std::span(&row.last, 1), position, position + 1});
  }
  return batch;
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

SampleArgs DecodeJob::sampling_of(std::span<const size_t> rows) {
  std::vector<SampleRow> states;
  for (const size_t r : rows) {
    const DecodeRow& source = options_.rows[r];
    states.push_back({source.stream_hash, source.stream_lane, uint32_t(rows_[r].launched)});
  }
  sample_state_->set(states);
  SampleArgs args;
  args.params = &options_.sampling;
  args.rows = sample_state_->rows();
  args.seed = options_.seed;
  args.seen = seen_for(rows);
  args.tokens = static_cast<int32_t*>(token_buffer_->data());
  args.logprobs = options_.logprobs ? static_cast<float*>(logprob_buffer_->data()) : nullptr;
  return args;
}

void DecodeJob::sample(Tensor logits, std::span<const size_t> rows) {
  Backend& backend = session_.model().output_backend();
  SampleArgs args = sampling_of(rows);
  args.logits = logits;
  backend.sample(args);
  take_off(rows, backend.read_back(token_buffer_->data(), rows.size() * sizeof(int32_t)));
}

void DecodeJob::take_off(std::span<const size_t> rows, std::unique_ptr<Readback> tokens) {
  Flight flight;
  flight.rows.assign(rows.begin(), rows.end());
  flight.tokens = std::move(tokens);
  if (options_.logprobs) {
    flight.logprobs = session_.model().output_backend().read_back(logprob_buffer_->data(),
                                                                  rows.size() * sizeof(float));
  }
  for (const size_t r : rows) ++rows_[r].launched;
  flights_.push_back(std::move(flight));
}

void DecodeJob::deliver() {
  const Flight flight = std::move(flights_.front());
  flights_.pop_front();
  const auto* tokens = static_cast<const int32_t*>(flight.tokens->wait());
  const auto* logprobs =
      flight.logprobs ? static_cast<const float*>(flight.logprobs->wait()) : nullptr;
  first_logits_.reset();  // the prefill's choice, its only user, is done

  DecodeStep step;
  step.step = step_;
  step.tokens.assign(rows_.size(), -1);
  step.logprobs.assign(logprobs ? rows_.size() : 0, 0.0f);
  bool any = false;
  std::vector<size_t> ended;
  for (size_t i = 0; i < flight.rows.size(); ++i) {
    const size_t r = flight.rows[i];
    Row& row = rows_[r];
    if (!row.active) continue;  // ended after this step was launched
    if (tokens[i] < 0) {
      throw Error(ErrorKind::invalid_argument,
                  "Cannot sample: the largest score is not a finite number. The model produced "
                  "invalid logits, or every token is forbidden");
    }
    any = true;
    row.last = tokens[i];
    ++row.generated;
    step.tokens[r] = row.last;
    if (logprobs) step.logprobs[r] = logprobs[i];
    const bool eos = std::ranges::find(options_.eos_token_ids, row.last) != options_.eos_token_ids.end();
    if (eos || row.generated >= options_.rows[r].max_new_tokens) ended.push_back(r);
  }
  if (!any) return;
  ++step_;
  for (const size_t r : ended) finish(rows_[r]);
  awaiting_ = options_.ask;
  on_step_(step);
}

void DecodeJob::finish(Row& row) {
  row.active = false;
  session_.model().blocks().truncate(*row.cache, row.prompt_end + std::max(row.generated - 1, 0));
}

void DecodeJob::give_back() {
  if (!flights_.empty()) {
    // Steps nobody wants any more may still be under way, on memory that is about to be given back.
    try {
      session_.model().synchronize();
    } catch (...) {
      // The device is lost, and nothing runs on it any more.
    }
  }
  flights_.clear();
  resident_.reset();
  sample_state_.reset();
  for (auto* buffer : {&first_logits_, &seen_, &token_buffer_, &logprob_buffer_}) buffer->reset();
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
  give_back();
  done_(error);
}

}  // namespace komt
