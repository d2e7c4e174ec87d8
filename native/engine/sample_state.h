#pragma once
#include <memory>
#include <span>
#include <vector>

#include "engine/sampling.h"

namespace komt {

/// The rows of sampling calls as they lie in a backend's memory: one upload, in place for as many
/// steps as the rows stay the same.
class SampleState {
 public:
  /// Room for `max_rows`. eos may not be chosen before step `min_step` of a row.
  SampleState(Backend& backend, int max_rows, std::span<const int32_t> eos_token_ids,
              uint32_t min_step);

  /// Enqueues the rows' upload.
  void set(std::span<const SampleRow> rows);
  const SampleRows& rows() const { return rows_; }

 private:
  Backend& backend_;
  std::unique_ptr<Buffer> memory_;
  SampleRows rows_;
  std::vector<int32_t> eos_token_ids_;
  uint32_t min_step_;
  std::vector<char> host_;
};

}  // namespace komt
