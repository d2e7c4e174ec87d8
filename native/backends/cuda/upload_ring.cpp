#include "backends/cuda/upload_ring.h"

#include <algorithm>
#include <cstring>

namespace komt::cuda {

UploadRing::UploadRing(cudaStream_t stream) : stream_(stream), memory_(2 * kHalfBytes) {}

void UploadRing::upload(void* target, const void* source, size_t bytes) {
  const auto* from = static_cast<const char*>(source);
  auto* to = static_cast<char*>(target);
  while (bytes > 0) {
    if (at_ == kHalfBytes) {
      done_[half_].record(stream_);
      used_[half_] = true;
      half_ ^= 1;
      at_ = 0;
      if (used_[half_]) done_[half_].wait();
    }
    const size_t piece = std::min(bytes, kHalfBytes - at_);
    char* slot = memory_.data() + size_t(half_) * kHalfBytes + at_;
    std::memcpy(slot, from, piece);
    check(cudaMemcpyAsync(to, slot, piece, cudaMemcpyHostToDevice, stream_), "Upload");
    at_ = std::min(kHalfBytes, (at_ + piece + 255) / 256 * 256);
    from += piece;
    to += piece;
    bytes -= piece;
  }
}

}  // namespace komt::cuda
