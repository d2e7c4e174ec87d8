#include "engine/sample_state.h"

#include <algorithm>
#include <cstring>

namespace komt {

namespace {

/// Bytes of a row in the packed arrays [hashes | lanes | steps | min_steps]; the eos ids follow.
constexpr size_t kRowBytes = sizeof(uint64_t) + 3 * sizeof(uint32_t);

}  // namespace

SampleState::SampleState(Backend& backend, int max_rows, std::span<const int32_t> eos_token_ids,
                         uint32_t min_step)
    : backend_(backend),
      memory_(backend.allocate(size_t(max_rows) * kRowBytes + eos_token_ids.size_bytes(),
                               "sampling state")),
      eos_token_ids_(eos_token_ids.begin(), eos_token_ids.end()),
      min_step_(min_step) {}

void SampleState::set(std::span<const Row> rows) {
  host_.resize(rows.size() * kRowBytes + eos_token_ids_.size() * sizeof(int32_t));
  char* end = host_.data();
  // Puts an array behind the ones before it and returns where the backend will have it.
  const auto pack = [&](const auto& value_of, size_t count) {
    using T = decltype(value_of(size_t{0}));
    const size_t at = size_t(end - host_.data());
    for (size_t i = 0; i < count; ++i, end += sizeof(T)) {
      const T value = value_of(i);
      std::memcpy(end, &value, sizeof(T));
    }
    return reinterpret_cast<const T*>(static_cast<const char*>(memory_->data()) + at);
  };
  view_.count = int(rows.size());
  view_.num_eos = int(eos_token_ids_.size());
  view_.stream_hashes = pack([&](size_t i) { return rows[i].stream_hash; }, rows.size());
  view_.stream_lanes = pack([&](size_t i) { return rows[i].stream_lane; }, rows.size());
  view_.steps = pack([&](size_t i) { return rows[i].step; }, rows.size());
  view_.min_steps = pack([&](size_t) { return min_step_; }, rows.size());
  view_.eos_token_ids =
      pack([&](size_t i) { return eos_token_ids_[i]; }, eos_token_ids_.size());
  backend_.upload(memory_->data(), host_.data(), host_.size());
}

}  // namespace komt
