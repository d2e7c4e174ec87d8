#include "engine/rope.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace komt {

void rope_row(const RopeConfig& rope, int position, int sequence_length, float* cos, float* sin) {
  const size_t half = rope.inv_freq.size();
  const bool stretched = rope.dynamic && sequence_length > rope.original_max_position;
  double base = rope.theta;
  if (stretched) {
    const double dim = 2.0 * double(half);
    const double grown = double(rope.factor) * sequence_length / rope.original_max_position -
                         (double(rope.factor) - 1.0);
    base *= std::pow(grown, dim / (dim - 2.0));
  }
  for (size_t i = 0; i < half; ++i) {
    const float exponent = float(2 * i) / float(2 * half);
    const float inv_freq =
        stretched ? 1.0f / float(std::pow(double(float(base)), double(exponent))) : rope.inv_freq[i];
    const float angle = inv_freq * float(position);
    cos[i] = float(std::cos(double(angle))) * rope.attention_scaling;
    sin[i] = float(std::sin(double(angle))) * rope.attention_scaling;
  }
}

void RopeTables::reserve(int positions, int scratch) {
  if (positions <= positions_ && scratch <= scratch_) return;
  const size_t half = rope_.inv_freq.size();
  const int rows = std::max(positions_, int(std::bit_ceil(unsigned(std::max(positions, 512)))));
  const int extra = std::max(scratch, scratch_);
  std::vector<float> cos(size_t(rows) * half);
  std::vector<float> sin(size_t(rows) * half);
  for (int p = 0; p < rows; ++p) rope_row(rope_, p, 0, &cos[p * half], &sin[p * half]);

  const size_t bytes = size_t(rows + extra) * half * sizeof(float);
  auto new_cos = backend_.allocate(bytes, "rotary table");
  auto new_sin = backend_.allocate(bytes, "rotary table");
  backend_.upload(new_cos->data(), cos.data(), cos.size() * sizeof(float));
  backend_.upload(new_sin->data(), sin.data(), sin.size() * sizeof(float));
  cos_ = std::move(new_cos);
  sin_ = std::move(new_sin);
  ++moves_;
  positions_ = rows;
  scratch_ = extra;
  scratch_cos_.resize(size_t(extra) * half);
  scratch_sin_.resize(size_t(extra) * half);
}

int RopeTables::scratch_row(int slot, int position, int sequence_length) {
  const size_t half = rope_.inv_freq.size();
  rope_row(rope_, position, sequence_length, &scratch_cos_[slot * half], &scratch_sin_[slot * half]);
  return positions_ + slot;
}

void RopeTables::flush_scratch(int count) {
  if (count == 0) return;
  const size_t half = rope_.inv_freq.size();
  const size_t offset = size_t(positions_) * half;
  const size_t bytes = size_t(count) * half * sizeof(float);
  backend_.upload(static_cast<float*>(cos_->data()) + offset, scratch_cos_.data(), bytes);
  backend_.upload(static_cast<float*>(sin_->data()) + offset, scratch_sin_.data(), bytes);
}

RopeTable RopeTables::view() const {
  return {static_cast<const float*>(cos_->data()), static_cast<const float*>(sin_->data())};
}

}  // namespace komt
