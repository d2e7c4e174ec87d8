#include "emulator/runtime/launch_log.h"

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <unordered_map>

#include "emulator/control.h"
#include "emulator/runtime/symbols.h"

namespace komt::emulator {

namespace {

struct Shape {
  dim3 grid;
  dim3 block;
  std::size_t dynamic_shared_bytes;
  std::uint64_t count;
};

struct KernelStatistics {
  std::vector<Shape> shapes;
  double block_seconds = 0;
};

struct Log {
  std::mutex mutex;
  std::unordered_map<const void*, KernelStatistics> kernels;

  Log();
};

// Never destroyed: read at exit.
Log& launch_log_storage() {
  static auto* log = new Log;
  return *log;
}

void write_log() {
  const char* path = std::getenv("KOMT_EMULATOR_LAUNCH_LOG");
  std::FILE* file = path != nullptr ? std::fopen(path, "a") : nullptr;
  if (file == nullptr) return;
  for (const LaunchRecord& r : launch_log()) {
    std::fprintf(file, "%s\t%u,%u,%u\t%u,%u,%u\t%zu\t%llu\n", r.kernel.c_str(), r.grid.x, r.grid.y,
                 r.grid.z, r.block.x, r.block.y, r.block.z, r.dynamic_shared_bytes,
                 static_cast<unsigned long long>(r.count));
  }
  std::fclose(file);
}

Log::Log() {
  if (std::getenv("KOMT_EMULATOR_LAUNCH_LOG") != nullptr) std::atexit(write_log);
}

bool operator==(const dim3& a, const dim3& b) { return a.x == b.x && a.y == b.y && a.z == b.z; }

}  // namespace

void log_launch(const KernelLaunch& launch, double seconds) {
  Log& log = launch_log_storage();
  const std::lock_guard lock(log.mutex);
  KernelStatistics& kernel = log.kernels[launch.kernel];
  const double blocks = static_cast<double>(launch.grid.x) * launch.grid.y * launch.grid.z;
  constexpr double kNewest = 0.25;
  kernel.block_seconds +=
      (seconds / blocks - kernel.block_seconds) * (kernel.shapes.empty() ? 1.0 : kNewest);
  for (Shape& shape : kernel.shapes) {
    if (shape.grid == launch.grid && shape.block == launch.block &&
        shape.dynamic_shared_bytes == launch.dynamic_shared_bytes) {
      ++shape.count;
      return;
    }
  }
  kernel.shapes.push_back({launch.grid, launch.block, launch.dynamic_shared_bytes, 1});
}

double expected_block_seconds(const KernelLaunch& launch) {
  Log& log = launch_log_storage();
  const std::lock_guard lock(log.mutex);
  const auto kernel = log.kernels.find(launch.kernel);
  return kernel == log.kernels.end() ? 0 : kernel->second.block_seconds;
}

std::vector<LaunchRecord> launch_log() {
  Log& log = launch_log_storage();
  const std::lock_guard lock(log.mutex);
  std::vector<LaunchRecord> records;
  for (const auto& [kernel, statistics] : log.kernels) {
    const std::string name = function_name(kernel);
    for (const Shape& s : statistics.shapes) {
      records.push_back({name, s.grid, s.block, s.dynamic_shared_bytes, s.count});
    }
  }
  return records;
}

void clear_launch_log() {
  Log& log = launch_log_storage();
  const std::lock_guard lock(log.mutex);
  log.kernels.clear();
}

}  // namespace komt::emulator
