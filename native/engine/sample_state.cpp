#include "engine/sample_state.h"

#include <algorithm>
#include <cstring>

namespace komt {

namespace {

/// Bytes of a row in the packed arrays [hashes | lanes | steps | min_steps], the widest first so that
/// each is aligned; the eos ids follow.
constexpr size_t kRowBytes = sizeof(uint64_t) + 3 * sizeof(uint32_t);

}  // namespace

SampleState::SampleState(Backend& backend, int max_rows, std::span<const int32_t> eos_token_ids,
                         uint32_t min_step)
    : backend_(backend),
      memory_(backend.allocate(size_t(max_rows) * kRowBytes + eos_token_ids.size_bytes(),
                               "sampling state")),
      eos_token_ids_(eos_token_ids.begin(), eos_token_ids.end()),
      min_step_(min_step) {}

void SampleState::set(std::span<const SampleRow> rows) {
  host_.resize(rows.size() * kRowBytes + eos_token_ids_.size() * sizeof(int32_t));
  size_t at = 0;
  // Puts an array behind the ones before it and returns where the backend will have it.
  const auto pack = [&]<class T>(size_t count, const auto& value_of) {
    T* there = reinterpret_cast<T*>(static_cast<char*>(memory_->data()) + at);
    for (size_t i = 0; i < count; ++i, at += sizeof(T)) {
      const T value = value_of(i);
      std::memcpy(host_.data() + at, &value, sizeof(T));
    }
    return there;
  };
  const size_t n = rows.size();
  const size_t num_eos = eos_token_ids_.size();
  rows_.count = int(n);
  rows_.stream_hashes = pack.operator()<uint64_t>(n, [&](size_t i) { return rows[i].stream_hash; });
  rows_.stream_lanes = pack.operator()<uint32_t>(n, [&](size_t i) { return rows[i].stream_lane; });
  rows_.steps = pack.operator()<uint32_t>(n, [&](size_t i) { return rows[i].step; });
  rows_.min_steps = pack.operator()<uint32_t>(n, [&](size_t) { return min_step_; });
  rows_.num_eos = int(num_eos);
  rows_.eos_token_ids = pack.operator()<int32_t>(num_eos, [&](size_t i) { return eos_token_ids_[i]; });
  backend_.upload(memory_->data(), host_.data(), host_.size());
}

}  // namespace komt
