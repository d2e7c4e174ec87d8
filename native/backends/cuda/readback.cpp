#include "backends/cuda/readback.h"

#include <atomic>
#include <chrono>
#include <thread>

#include "engine/error.h"

namespace komt::cuda {

CudaReadback::CudaReadback(PinnedPool& pool, const void* source, size_t bytes, cudaStream_t stream)
    : pool_(pool), buffer_(pool.take(bytes)) {
  check(cudaMemcpyAsync(buffer_->data(), source, bytes, cudaMemcpyDeviceToHost, stream), "Download");
  try {
    done_.record(stream);
  } catch (...) {
    (void)cudaStreamSynchronize(stream);  // the bytes are on their way to memory that goes now
    throw;
  }
}

CudaReadback::~CudaReadback() {
  // The buffer may be taken again at once: never while bytes are still on their way.
  (void)cudaEventSynchronize(done_.get());
  pool_.give_back(std::move(buffer_));
}

const void* CudaReadback::wait() {
  done_.wait();
  return buffer_->data();
}

/// One step's tokens.
class CudaTokenRing::Slot : public Readback {
 public:
  Slot(const CudaTokenRing& ring, uint32_t step, const int32_t* tokens)
      : ring_(ring), step_(step), tokens_(tokens) {}
  const void* wait() override {
    ring_.wait_for(step_);
    return tokens_;
  }

 private:
  const CudaTokenRing& ring_;
  uint32_t step_;
  const int32_t* tokens_;
};

CudaTokenRing::CudaTokenRing(Backend& backend, int max_rows, PinnedPool& pool, cudaStream_t stream)
    : pool_(pool),
      stream_(stream),
      memory_(pool.take(kCountBytes + size_t(kTokenRingSlots) * size_t(max_rows) * sizeof(int32_t))),
      device_count_(backend.allocate(sizeof(uint32_t), "the token ring")) {
  *count() = 0;
  backend.fill_zero(device_count_->data(), sizeof(uint32_t));
}

CudaTokenRing::~CudaTokenRing() {
  // Steps under way still write here, and the memory may be taken again at once.
  (void)cudaStreamSynchronize(stream_);
  pool_.give_back(std::move(memory_));
}

std::unique_ptr<Readback> CudaTokenRing::next(int rows) {
  const uint32_t step = enqueued_++;
  return std::make_unique<Slot>(*this, step, slots() + size_t(step % kTokenRingSlots) * size_t(rows));
}

void CudaTokenRing::wait_for(uint32_t step) const {
  // The device runs ahead, so that waking up a little late costs it nothing: a short spin for tokens
  // that are about to come, then naps.
  constexpr int kSpins = 2000;
  constexpr auto kNap = std::chrono::microseconds(20);
  // What std::atomic_ref is for, which libc++ has only since its release 19.
  static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));
  const auto& published = *reinterpret_cast<const std::atomic<uint32_t>*>(count());
  const auto arrived = [&] { return int32_t(published.load(std::memory_order_acquire) - step) > 0; };
  for (int i = 0; !arrived(); ++i) {
    if (i < kSpins) continue;
    const cudaError_t state = cudaStreamQuery(stream_);
    if (state == cudaErrorNotReady) {
      std::this_thread::sleep_for(kNap);
      continue;
    }
    // A device that failed publishes nothing any more.
    check(state, "Waiting for the device");
    if (!arrived()) throw Error(ErrorKind::internal, "A decode step ended without its tokens");
  }
}

}  // namespace komt::cuda
