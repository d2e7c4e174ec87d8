#pragma once
// The way of small things from pageable host memory to the device.
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

}  // namespace komt::cuda
