#pragma once
#include <memory>
#include <vector>

#include "engine/backend.h"
#include "engine/config.h"

namespace komt {

/// cos and sin of one position, [head_dim / 2] each. Angles are formed in float32, as PyTorch forms
/// them, and their cosine in double. `sequence_length` matters to dynamic scaling only.
void rope_row(const RopeConfig& rope, int position, int sequence_length, float* cos, float* sin);

/// The rotary table of one backend: row p holds position p; behind these rows lies a scratch area for
/// tokens whose angles depend on more than their position (dynamic scaling past its limit).
class RopeTables {
 public:
  RopeTables(Backend& backend, const RopeConfig& rope) : backend_(backend), rope_(rope) {}

  /// Makes rows [0, positions) valid and room for `scratch` more. May move the table.
  void reserve(int positions, int scratch);
  /// Computes the row of (position, sequence_length) into scratch slot `slot`; returns its row number.
  int scratch_row(int slot, int position, int sequence_length);
  /// Sends scratch rows written since the last call to the backend.
  void flush_scratch(int count);

  RopeTable view() const;
  int positions() const { return positions_; }
  /// How often the table has moved.
  uint64_t moves() const { return moves_; }

 private:
  Backend& backend_;
  const RopeConfig& rope_;
  int positions_ = 0;
  int scratch_ = 0;
  uint64_t moves_ = 0;
  std::vector<float> scratch_cos_;
  std::vector<float> scratch_sin_;
  std::unique_ptr<Buffer> cos_;
  std::unique_ptr<Buffer> sin_;
};

}  // namespace komt
