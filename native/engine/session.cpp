#include "engine/session.h"

#include <algorithm>
#include <string>
#include <unordered_set>
#include <utility>

#include "engine/error.h"

namespace komt {

Session::~Session() {
  for (auto& [handle, cache] : sequences_) model_.blocks().release(cache);
}

SequenceCache& Session::at(int handle) {
  const auto it = sequences_.find(handle);
  if (it == sequences_.end()) {
    throw Error(ErrorKind::invalid_argument,
                "Sequence " + std::to_string(handle) + " does not exist: it was released, or never created");
  }
  return it->second;
}

void Session::require_new(int handle) const {
  if (sequences_.contains(handle)) {
    throw Error(ErrorKind::invalid_argument,
                "Sequence " + std::to_string(handle) + " exists already: release it first");
  }
}

void Session::create(int handle) {
  require_new(handle);
  sequences_.emplace(handle, SequenceCache{});
}

void Session::fork(int source, int handle) {
  require_new(handle);
  SequenceCache& from = at(source);  // stays where it is when the map grows
  SequenceCache& copy = sequences_[handle];
  try {
    copy = model_.blocks().fork(from);
  } catch (...) {
    sequences_.erase(handle);
    throw;
  }
}

void Session::truncate(int handle, int length) {
  if (length < 0) {
    throw Error(ErrorKind::invalid_argument,
                "Sequence " + std::to_string(handle) + " cannot be cut to " + std::to_string(length) +
                    " tokens: expected 0 or more");
  }
  model_.blocks().truncate(at(handle), length);
}

void Session::release(int handle) {
  model_.blocks().release(at(handle));
  sequences_.erase(handle);
}

ChunkedForward::ChunkedForward(Session& session, std::vector<Row> rows)
    : session_(session), rows_(std::move(rows)) {
  if (rows_.empty()) throw Error(ErrorKind::invalid_argument, "There are no rows to run");
  const int vocab = session_.model().config().vocab_size;
  std::unordered_set<int> sequences;
  places_.reserve(rows_.size());
  for (const Row& row : rows_) {
    SequenceCache& cache = session_.at(row.sequence);
    const std::string name = "Sequence " + std::to_string(row.sequence);
    if (row.tokens.empty()) {
      throw Error(ErrorKind::invalid_argument, name + " has no new tokens: expected at least one");
    }
    for (const int32_t token : row.tokens) {
      if (token < 0 || token >= vocab) {
        throw Error(ErrorKind::invalid_argument,
                    "Token id " + std::to_string(token) + " is outside the vocabulary of " +
                        std::to_string(vocab) +
                        " ids. Does the tokenizer belong to this model?");
      }
    }
    if (!sequences.insert(row.sequence).second) {
      throw Error(ErrorKind::invalid_argument, name + " stands in one batch twice");
    }
    if (row.tokens.size() > size_t(kMaxSequenceTokens - cache.length)) {
      throw Error(ErrorKind::invalid_argument,
                  name + " would have " + std::to_string(size_t(cache.length) + row.tokens.size()) +
                      " tokens; none can have more than " + std::to_string(kMaxSequenceTokens));
    }
    places_.push_back({&cache, cache.length});
  }
}

void ChunkedForward::step(const std::function<void(size_t, size_t, int32_t)>& visit) {
  Model& model = session_.model();
  std::vector<BatchRow> batch;
  struct Piece {
    size_t row, first, count;
  };
  std::vector<Piece> pieces;
  size_t room = size_t(model.max_batch_tokens());
  size_t row = row_;
  size_t index = index_;
  while (room > 0 && row < rows_.size()) {
    const size_t count = std::min(room, rows_[row].tokens.size() - index);
    pieces.push_back({row, index, count});
    room -= count;
    index += count;
    if (index == rows_[row].tokens.size()) {
      ++row;
      index = 0;
    }
  }
  for (const Piece& p : pieces) {
    SequenceCache& cache = *places_[p.row].cache;
    const int position = cache.length;
    model.blocks().extend(cache, int(p.count));
    BatchRow entry;
    entry.cache = &cache;
    entry.tokens = std::span(rows_[p.row].tokens).subspan(p.first, p.count);
    entry.first_position = position;
    entry.final_length = places_[p.row].start + int(rows_[p.row].tokens.size());
    batch.push_back(entry);
  }
  model.forward(batch);
  int32_t in_chunk = 0;
  for (const Piece& p : pieces) {
    for (size_t i = 0; i < p.count; ++i) visit(p.row, p.first + i, in_chunk++);
  }
  row_ = row;
  index_ = index;
}

void ChunkedForward::rewind() noexcept {
  for (const Place& place : places_) session_.model().blocks().truncate(*place.cache, place.start);
}

ForwardJob::ForwardJob(Session& session, std::vector<ChunkedForward::Row> rows,
                       std::vector<Wanted> wanted, bool want_hidden, Done done)
    : session_(session),
      wanted_(std::move(wanted)),
      want_hidden_(want_hidden),
      done_(std::move(done)),
      forward_(session, std::move(rows)) {
  if (wanted_.size() != forward_.rows().size()) {
    throw Error(ErrorKind::invalid_argument, "Expected a choice of logits for each of " +
                                                 std::to_string(forward_.rows().size()) +
                                                 " rows, found " + std::to_string(wanted_.size()));
  }
  size_t positions = 0;
  for (size_t r = 0; r < wanted_.size(); ++r) {
    if (wanted_[r] == Wanted::last) ++positions;
    if (wanted_[r] == Wanted::all) positions += forward_.rows()[r].tokens.size();
  }
  const auto reserve = [&](std::vector<float>& to, int width, const char* what) {
    if (positions > kMaxFloats / size_t(width)) {
      throw Error(ErrorKind::invalid_argument,
                  std::string(what) + " of " + std::to_string(positions) + " positions x " +
                      std::to_string(width) + " are more than one call gives (" +
                      std::to_string(kMaxFloats) +
                      " numbers). Ask for fewer positions, or in several calls");
    }
    to.reserve(positions * size_t(width));
  };
  const ModelConfig& config = session_.model().config();
  reserve(result_.logits, config.vocab_size, "Logits");
  if (want_hidden_) reserve(result_.hidden, config.hidden_size, "Hidden states");
}

Job::Progress ForwardJob::advance() {
  Model& model = session_.model();
  std::vector<int32_t> picked;
  forward_.step([&](size_t row, size_t index, int32_t in_chunk) {
    const bool last = index + 1 == forward_.rows()[row].tokens.size();
    if (wanted_[row] == Wanted::all || (wanted_[row] == Wanted::last && last)) {
      picked.push_back(in_chunk);
    }
  });
  if (!picked.empty()) {
    const auto append = [&](std::vector<float>& to, const Tensor& from) {
      const size_t at = to.size();
      to.resize(at + size_t(from.rows * from.cols));
      model.output_backend().download(to.data() + at, from.data, from.bytes());
    };
    append(result_.logits, model.logits(picked));
    if (want_hidden_) append(result_.hidden, model.hidden(picked));
    result_.rows += picked.size();
  }
  if (!forward_.done()) return Progress::worked;
  done_(nullptr, std::move(result_));
  return Progress::done;
}

void ForwardJob::fail(std::exception_ptr error) noexcept {
  forward_.rewind();
  done_(error, {});
}

}  // namespace komt
