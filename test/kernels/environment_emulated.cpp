#include <set>

#include "common/platform.cuh"
#include "emulator/control.h"
#include "environment.h"

#if defined(__SANITIZE_ADDRESS__)
#define KOMT_TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KOMT_TEST_ASAN 1
#endif
#endif

namespace komt::test::environment {

namespace {

#if defined(KOMT_TEST_ASAN)
constexpr bool kAddressSanitizer = true;
#else
constexpr bool kAddressSanitizer = false;
#endif

}  // namespace

std::string name() {
  if (kAddressSanitizer) return "emulated-asan";
  return emulator::race_detection() ? "emulated-race" : "emulated-fast";
}

std::string why_unavailable() { return ""; }

int default_seeds() { return kAddressSanitizer ? 2 : 4; }

void begin_schedule(std::uint64_t seed) { emulator::set_seed(seed); }

bool checks_every_access() { return kAddressSanitizer || emulator::race_detection(); }

bool fresh_memory_is_nan() { return true; }

bool full_size() { return false; }

std::vector<std::string> take_findings() {
  std::vector<std::string> findings;
  for (const emulator::Report& report : emulator::take_reports()) {
    findings.push_back(std::string(emulator::check_name(report.check)) + " in " +
                       (report.kernel.empty() ? "host code" : report.kernel) + ": " +
                       report.message);
  }
  return findings;
}

std::string summary_fields() {
  std::set<std::string> kernels;
  std::uint64_t launches = 0;
  for (const emulator::LaunchRecord& record : emulator::launch_log()) {
    kernels.insert(record.kernel);
    launches += record.count;
  }
  return "\"kernels\": " + std::to_string(kernels.size()) +
         ", \"launches\": " + std::to_string(launches) + ", ";
}

}  // namespace komt::test::environment
