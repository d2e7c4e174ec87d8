#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/job.h"
#include "engine/model.h"

namespace komt {

/// The sequences of one session, by the handles its user chose. Engine thread only.
class Session {
 public:
  explicit Session(Model& model) : model_(model) {}
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // All throw invalid_argument for a handle that is unknown, or taken where a new one is needed.
  /// An empty sequence.
  void create(int handle);
  void fork(int source, int handle);
  /// Keeps the first `length` tokens. Throws invalid_argument below 0.
  void truncate(int handle, int length);
  void release(int handle);
  SequenceCache& at(int handle);
  Model& model() { return model_; }

 private:
  void require_new(int handle) const;

  Model& model_;
  std::unordered_map<int, SequenceCache> sequences_;
};

/// Feeds many rows' tokens through the model in chunks of Model::max_batch_tokens and says, for each
/// chunk, which of its tokens belong to which place of the caller's list.
class ChunkedForward {
 public:
  struct Row {
    int sequence = 0;
    std::vector<int32_t> tokens;
  };
  /// Throws invalid_argument for no rows, a row without tokens, ids outside the vocabulary, a sequence
  /// that stands in two rows, and one that would grow beyond kMaxSequenceTokens.
  ChunkedForward(Session& session, std::vector<Row> rows);

  bool done() const { return row_ == rows_.size(); }
  /// Runs the next chunk. `visit(row, index_in_row, index_in_chunk)` sees each of its tokens.
  void step(const std::function<void(size_t row, size_t index, int32_t in_chunk)>& visit);
  const std::vector<Row>& rows() const { return rows_; }
  /// Takes back what this forward has put into the cache.
  void rewind() noexcept;

 private:
  /// Of one row: nobody else touches the sequence before its job is done.
  struct Place {
    SequenceCache* cache = nullptr;
    int start = 0;  ///< its length before this forward
  };

  Session& session_;
  std::vector<Row> rows_;
  std::vector<Place> places_;
  size_t row_ = 0;
  size_t index_ = 0;
};

/// Appends tokens to sequences and gives logits (and hidden states) of chosen tokens to the host.
class ForwardJob : public Job {
 public:
  enum class Wanted : int { none, last, all };
  /// Floats of logits, and of hidden states, that one call gives: 4 GiB, below what a typed array holds
  /// in any supported version of Node.
  static constexpr size_t kMaxFloats = size_t(1) << 30;
  struct Result {
    std::vector<float> logits;  ///< [rows, vocab]
    std::vector<float> hidden;  ///< [rows, hidden] or empty
    size_t rows = 0;
  };
  using Done = std::function<void(std::exception_ptr error, Result result)>;

  /// Memory for the result first: throws what ChunkedForward throws, invalid_argument where `wanted` is
  /// not one for each row or the result beyond kMaxFloats, and std::bad_alloc.
  ForwardJob(Session& session, std::vector<ChunkedForward::Row> rows, std::vector<Wanted> wanted,
             bool want_hidden, Done done);
  Progress advance() override;
  void fail(std::exception_ptr error) noexcept override;

 private:
  Session& session_;
  std::vector<Wanted> wanted_;
  bool want_hidden_;
  Done done_;
  ChunkedForward forward_;
  Result result_;
};

}  // namespace komt
