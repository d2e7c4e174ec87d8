#pragma once
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "engine/resident_decode.h"
#include "engine/sample_state.h"
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

/// Prefill, then one token a step for every row that has not ended, sampled by the backend. Steps are
/// launched ahead of their delivery: one on a synchronous backend (while a verdict is awaited), two
/// where tokens can feed the next step on the device. What is then not wanted is taken back out of
/// the cache, which in the end holds all tokens of a row but its last.
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
    int launched = 0;    ///< tokens chosen or being chosen
    int generated = 0;   ///< tokens delivered
    int32_t last = 0;    ///< token delivered last
    bool active = true;
  };
  /// A launched step that waits for delivery.
  struct Flight {
    std::vector<size_t> rows;
    std::unique_ptr<Readback> tokens;    ///< int32 [rows]
    std::unique_ptr<Readback> logprobs;  ///< float32 [rows] or none
  };

  void prefill_step();
  void take_verdict();
  bool can_launch(const std::vector<size_t>& rows) const;
  void launch(const std::vector<size_t>& rows);
  void launch_resident(const std::vector<size_t>& rows);
  void launch_from_host(std::span<const size_t> rows);
  /// One token each, delivered last.
  std::vector<BatchRow> batch_of(std::span<const size_t> rows) const;
  void sample(Tensor logits, std::span<const size_t> rows);
  /// Everything but the logits, with the rows' state on its way to the backend.
  SampleArgs sampling_of(std::span<const size_t> rows);
  uint8_t* seen_for(std::span<const size_t> rows);
  void take_off(std::span<const size_t> rows, std::unique_ptr<Readback> tokens);
  void deliver();
  void finish(Row& row);
  /// Returns all that belongs to the backend: whoever asks for verdicts may hold the job for longer
  /// than the backend lives.
  void give_back();
  std::vector<size_t> rows_to_launch() const;
  bool any_active() const;

  Session& session_;
  DecodeOptions options_;
  OnStep on_step_;
  Done done_;
  ChunkedForward prefill_;
  std::vector<Row> rows_;
  int step_ = 0;  ///< of the step to be delivered next
  std::deque<Flight> flights_;

  std::unique_ptr<Buffer> first_logits_;  ///< [rows, vocab], gathered over the prefill's chunks
  std::unique_ptr<Buffer> seen_;          ///< [seen_rows_.size(), vocab] bytes, with a penalty only
  std::vector<size_t> seen_rows_;         ///< whose rows seen_ holds
  std::optional<SampleState> sample_state_;
  std::unique_ptr<Buffer> token_buffer_;
  std::unique_ptr<Buffer> logprob_buffer_;

  std::optional<ResidentDecode> resident_;  ///< where the model supports it
  std::vector<size_t> resident_rows_;       ///< what it runs now

  bool awaiting_ = false;  ///< a delivered step waits for its verdict
  std::mutex verdict_mutex_;
  bool verdict_ready_ = false;
  std::vector<bool> verdict_;
};

}  // namespace komt
