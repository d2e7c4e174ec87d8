#pragma once
// Ways from the device to the host that do not stall it.
#include "backends/cuda/cuda_runtime.h"

namespace komt::cuda {

/// A download through page-locked memory, with an event behind it.
class CudaReadback : public Readback {
 public:
  CudaReadback(PinnedPool& pool, const void* source, size_t bytes, cudaStream_t stream);
  ~CudaReadback() override;
  const void* wait() override;

 private:
  PinnedPool& pool_;
  std::unique_ptr<PinnedBuffer> buffer_;
  Event done_;
};

/// Slots in page-locked memory that the device writes and the host polls; see kernels::AdvanceArgs.
class CudaTokenRing : public TokenRing {
 public:
  CudaTokenRing(Backend& backend, int max_rows, PinnedPool& pool, cudaStream_t stream);
  ~CudaTokenRing() override;
  std::unique_ptr<Readback> next(int rows) override;

  int32_t* slots() const { return reinterpret_cast<int32_t*>(memory_->data() + kCountBytes); }
  /// Page-locked: steps published so far.
  uint32_t* count() const { return reinterpret_cast<uint32_t*>(memory_->data()); }
  /// The same number on the device.
  uint32_t* device_count() const { return static_cast<uint32_t*>(device_count_->data()); }

 private:
  class Slot;
  /// A cache line of its own: the host polls it.
  static constexpr size_t kCountBytes = 64;

  void wait_for(uint32_t step) const;

  PinnedPool& pool_;
  cudaStream_t stream_;
  std::unique_ptr<PinnedBuffer> memory_;
  std::unique_ptr<Buffer> device_count_;
  uint32_t enqueued_ = 0;
};

}  // namespace komt::cuda
