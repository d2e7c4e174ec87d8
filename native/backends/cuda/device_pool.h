#pragma once
#include <map>
#include <memory>

#include "backends/cuda/cuda_runtime.h"

namespace komt::cuda {

/// Device memory for one stream's work. Small buffers that are given back are kept for the next that
/// asks for their size, because cudaFree waits for the device and every generation needs the same few:
/// what the stream still does with them comes before what it does next.
class DevicePool {
 public:
  explicit DevicePool(int device) : device_(device) {}
  ~DevicePool() { trim(); }
  DevicePool(const DevicePool&) = delete;
  DevicePool& operator=(const DevicePool&) = delete;

  /// Throws out_of_memory when there is not enough, idle buffers included. The buffer must not outlive
  /// the pool.
  std::unique_ptr<Buffer> allocate(size_t bytes, const char* purpose);
  /// Frees what is idle.
  void trim();

 private:
  class Lent;
  static constexpr size_t kLargestKept = size_t(16) << 20;
  static constexpr size_t kMostIdle = size_t(64) << 20;

  void take_back(std::unique_ptr<DeviceBuffer> buffer) noexcept;

  int device_;
  size_t idle_bytes_ = 0;
  std::multimap<size_t, std::unique_ptr<DeviceBuffer>> idle_;  ///< by size
};

}  // namespace komt::cuda
