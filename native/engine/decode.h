#pragma once
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "engine/session.h"

namespace komt {

struct DecodeRow {
  int sequence = 0;
  std::vector<int32_t> tokens;   ///< not in the cache yet
  std::vector<int32_t> history;  ///< all ids so far; needed with a repetition penalty
  uint64_t stream_hash = 0;
  uint32_t stream_lane = 0;
  int max_new_tokens = 0;
};

struct DecodeOptions {
  std::vector<DecodeRow> rows;
  SamplingParams sampling;
  int min_new_tokens = 0;
  std::vector<int32_t> eos_token_ids;
  uint64_t seed = 0;
  bool logprobs = false;
  /// Every step waits for a verdict before its successor is delivered.
  bool ask = false;
};

/// What a step chose, a place per row of the request; -1 for rows that had ended.
struct DecodeStep {
  int step = 0;
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;  ///< empty unless asked for
};

/// Prefill, then one token a step for every row that has not ended, sampled by the backend. Computes
/// one step ahead of what the caller has judged; what is then not wanted is taken back out of the
/// cache, which in the end holds all tokens of a row but its last.
class DecodeJob : public Job {
 public:
  using OnStep = std::function<void(const DecodeStep&)>;
  using Done = std::function<void(std::exception_ptr error)>;

  DecodeJob(Session& session, DecodeOptions options, OnStep on_step, Done done);
  Progress advance() override;
  void fail(std::exception_ptr error) noexcept override;

  /// The caller's answer to the step delivered last: rows to end. Any thread; wake the engine after.
  void verdict(std::vector<bool> stop);

 private:
  struct Row {
    SequenceCache* cache = nullptr;
    int prompt_end = 0;  ///< cache length after the prefill
    int generated = 0;   ///< tokens delivered
    int32_t last = 0;    ///< token delivered last
    bool active = true;
  };

  void prefill_step();
  void compute();
  void deliver();
  void finish(Row& row);
  void sample(Tensor logits, std::span<const size_t> rows, uint8_t* seen);
  uint8_t* seen_for(std::span<const size_t> rows);
  std::vector<size_t> active_rows() const;

  Session& session_;
  DecodeOptions options_;
  OnStep on_step_;
  Done done_;
  ChunkedForward prefill_;
  std::vector<Row> rows_;
  int step_ = 0;  ///< of the step to be delivered next

  std::unique_ptr<Buffer> first_logits_;  ///< [rows, vocab], gathered over the prefill's chunks
  std::unique_ptr<Buffer> seen_;          ///< [seen_rows_.size(), vocab] bytes, with a penalty only
  std::vector<size_t> seen_rows_;         ///< whose rows seen_ holds
  std::unique_ptr<Buffer> token_buffer_;
  std::unique_ptr<Buffer> logprob_buffer_;

  bool have_pending_ = false;  ///< a computed step that waits for delivery
  std::vector<size_t> pending_rows_;
  std::vector<int32_t> pending_tokens_;
  std::vector<float> pending_logprobs_;

  bool awaiting_ = false;  ///< a delivered step waits for its verdict
  std::mutex verdict_mutex_;
  bool verdict_ready_ = false;
  std::vector<bool> verdict_;
};

}  // namespace komt
