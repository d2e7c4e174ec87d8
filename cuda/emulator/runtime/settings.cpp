#include "emulator/runtime/settings.h"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>

#include "emulator/control.h"

namespace komt::emulator {

namespace {

std::uint64_t from_environment(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? fallback : std::strtoull(text, nullptr, 10);
}

}  // namespace

Settings& settings() {
  static Settings settings{
      from_environment("KOMT_EMULATOR_SEED", 0),
      0,
      0,
      0,
      static_cast<int>(from_environment("KOMT_EMULATOR_THREADS",
                                        std::clamp(std::thread::hardware_concurrency(), 1u, 8u))),
      20.0,
      from_environment("KOMT_EMULATOR_HOST_CHECK", 1) != 0,
      0,
      0,
      cudaSuccess,
  };
  return settings;
}

void set_seed(std::uint64_t seed) {
  settings().seed = seed;
  settings().launches = 0;
  ++settings().seeded;
}
std::uint64_t seed() { return settings().seed; }
void set_worker_threads(int count) { settings().worker_threads = std::max(count, 1); }
void set_watchdog_seconds(double seconds) { settings().watchdog_seconds = seconds; }
void set_host_access_check(bool enabled) { settings().host_access_check = enabled; }

std::uint64_t inject_fault(std::uint64_t call, cudaError_t error) {
  settings().fault = error;
  settings().faulty_call = call;
  return settings().api_calls.exchange(0);
}

cudaError_t injected_fault() {
  const bool faulty = ++settings().api_calls == settings().faulty_call;
  return faulty ? static_cast<cudaError_t>(settings().fault.load()) : cudaSuccess;
}

}  // namespace komt::emulator
