#pragma once
// Ways from pageable host memory to the device.
#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "backends/cuda/cuda_runtime.h"

namespace komt::cuda {

/// Small uploads in stream order without a stall: bytes go through a page-locked ring, and the host
/// waits only where the device is a whole ring behind.
class UploadRing {
 public:
  explicit UploadRing(cudaStream_t stream);
  void upload(void* target, const void* source, size_t bytes);

 private:
  static constexpr size_t kHalfBytes = size_t(512) << 10;

  cudaStream_t stream_;
  PinnedBuffer memory_;
  Event done_[2];  ///< recorded when a half was left
  bool used_[2] = {false, false};
  int half_ = 0;
  size_t at_ = 0;
};

/// Weight rows from reading threads: each takes a lane of its own, copies into page-locked memory and
/// has the device convert and place them while it fills the other half.
class WeightStaging {
 public:
  explicit WeightStaging(int device) : device_(device) {}

  /// As Backend::store_rows, into a row-major target of `cols` columns. Thread-safe.
  void store_rows(void* target, DType target_type, int64_t cols, int64_t first, int64_t step,
                  const void* source, DType source_type, int64_t count);
  /// Waits for everything stored and gives the lanes' memory back.
  void finish();

 private:
  static constexpr size_t kHalfBytes = size_t(8) << 20;
  struct Lane {
    Stream stream;
    PinnedBuffer host{2 * kHalfBytes};
    std::unique_ptr<DeviceBuffer> device;
    Event done[2];
    bool used[2] = {false, false};
    int half = 0;
  };

  std::unique_ptr<Lane> acquire();
  void release(std::unique_ptr<Lane> lane);

  int device_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Lane>> idle_;
};

}  // namespace komt::cuda
