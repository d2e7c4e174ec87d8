#include "emulator/runtime/report.h"

#include <cstdarg>
#include <cstdio>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "emulator/runtime/block.h"
#include "emulator/runtime/device.h"
#include "emulator/runtime/symbols.h"

namespace komt::emulator {

namespace {

constexpr int kSameFindingLimit = 3;
constexpr std::size_t kReportLimit = 1000;

struct Findings {
  std::mutex mutex;
  std::vector<Report> reports;
  std::map<std::tuple<const char*, const char*, int, const void*>, int> seen;
  std::string latest;
};

// Never destroyed: reports may come from threads that outlive main().
Findings& findings() {
  static auto* findings = new Findings;
  return *findings;
}

}  // namespace

const char* check_name(Check check) {
  switch (check) {
    case Check::kDivergence: return "divergence";
    case Check::kCollective: return "collective";
    case Check::kOutOfBounds: return "out-of-bounds";
    case Check::kUninitialised: return "uninitialised";
    case Check::kRace: return "race";
    case Check::kMissingWait: return "missing-wait";
    case Check::kGridDependency: return "grid-dependency";
    case Check::kHostAccess: return "host-access";
    case Check::kNoProgress: return "no-progress";
    case Check::kMisuse: return "misuse";
  }
  return "unknown";
}

void report(Check check, SourceLocation where, const char* format, ...) {
  const Block* block = current_block;
  const void* kernel = block != nullptr ? block->launch()->kernel : nullptr;
  Findings& all = findings();
  const std::lock_guard lock(all.mutex);
  mark_reported(block != nullptr ? block->launch()->device : current_device_index());
  if (all.reports.size() >= kReportLimit ||
      ++all.seen[{format, where.file, where.line, kernel}] > kSameFindingLimit) {
    return;
  }
  char text[2048];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  Report finding{check, text, {}};
  if (where.line > 0) {
    finding.message = std::string(where.file) + ":" + std::to_string(where.line) + ": " + text;
  }
  if (block != nullptr) {
    finding.kernel = function_name(kernel);
    const uint3 b = block->index();
    char place[128];
    int length = std::snprintf(place, sizeof(place), " [block %u,%u,%u", b.x, b.y, b.z);
    if (current_fiber != nullptr) {
      const uint3 t = current_fiber->index;
      length +=
          std::snprintf(place + length, sizeof(place) - length, ", thread %u,%u,%u", t.x, t.y, t.z);
    }
    finding.message += std::string(place, length) + "]";
  }
  all.latest = std::string(check_name(check)) + ": " + finding.message +
               (finding.kernel.empty() ? "" : " in " + finding.kernel);
  std::fprintf(stderr, "[cuda emulator] %s\n", all.latest.c_str());
  all.reports.push_back(std::move(finding));
}

const char* latest_report() {
  static thread_local std::string text;
  Findings& all = findings();
  const std::lock_guard lock(all.mutex);
  text = "cuda emulator: " + (all.latest.empty() ? "a check failed" : all.latest);
  return text.c_str();
}

std::vector<Report> take_reports() {
  check_global_gaps();
  Findings& all = findings();
  const std::lock_guard lock(all.mutex);
  forgive_reports();
  all.seen.clear();
  return std::exchange(all.reports, {});
}

}  // namespace komt::emulator
