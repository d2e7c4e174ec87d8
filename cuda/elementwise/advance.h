#pragma once

#include "common/platform.cuh"

namespace komt::kernels {

/// What turns a finished decode step into the next one without the host: the sampled ids become the
/// next tokens (0 for ids below), and positions, cache lengths, rotary rows and random-number steps grow by one. With a
/// ring, the ids are also put where the host can poll them. One row per sequence; any array may be
/// null.
struct AdvanceArgs {
  const std::int32_t* sampled = nullptr;  ///< [rows] of the finished step
  std::int32_t* tokens = nullptr;         ///< [rows] of the next step
  std::int32_t* positions = nullptr;      ///< [rows]
  std::int32_t* rope_rows = nullptr;      ///< [rows]
  std::int32_t* kv_lengths = nullptr;     ///< [rows]
  std::uint32_t* steps = nullptr;         ///< [rows] index of the token that is drawn next
  int rows = 0;
  std::int32_t* ring = nullptr;           ///< [ring_slots, rows], mapped pinned memory
  int ring_slots = 0;
  std::uint32_t* ring_count = nullptr;    ///< mapped pinned memory: steps published so far
  std::uint32_t* ring_next = nullptr;     ///< device memory: the same number, read by the device
};

/// Step s lies in slot s % ring_slots once ring_count > s; the host must have taken step
/// s - ring_slots by then. cudaErrorInvalidValue for rows < 0, or a ring without ids or
/// its counters.
cudaError_t advance_step(const AdvanceArgs& args, cudaStream_t stream);

}  // namespace komt::kernels
