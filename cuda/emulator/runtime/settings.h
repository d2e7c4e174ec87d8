// What control.h sets, as the rest of the emulator reads it.
#pragma once

#include <atomic>
#include <cstdint>

#include "emulator/runtime_types.h"

namespace komt::emulator {

struct Settings {
  std::atomic<std::uint64_t> seed;
  std::atomic<std::uint64_t> seeded;    // how often the seed was set: everything random starts anew
  std::atomic<std::uint64_t> launches;  // since then
  std::atomic<std::uint64_t> launch_ids;
  std::atomic<int> worker_threads;
  std::atomic<double> watchdog_seconds;
  std::atomic<bool> host_access_check;
  std::atomic<std::uint64_t> api_calls;  // since the last inject_fault()
  std::atomic<std::uint64_t> faulty_call;
  std::atomic<int> fault;
};

// First use reads the environment.
Settings& settings();

// Counts an API call; what it is to fail with.
cudaError_t injected_fault();

}  // namespace komt::emulator
