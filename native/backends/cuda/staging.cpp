#include "backends/cuda/staging.h"

#include <algorithm>
#include <cstring>

#include "backends/cuda/element_type.h"
#include "elementwise/convert.h"

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

std::unique_ptr<WeightStaging::Lane> WeightStaging::acquire() {
  {
    const std::scoped_lock lock(mutex_);
    if (!idle_.empty()) {
      auto lane = std::move(idle_.back());
      idle_.pop_back();
      return lane;
    }
  }
  auto lane = std::make_unique<Lane>();
  lane->device = std::make_unique<DeviceBuffer>(device_, 2 * kHalfBytes, "weight staging");
  return lane;
}

void WeightStaging::release(std::unique_ptr<Lane> lane) {
  const std::scoped_lock lock(mutex_);
  idle_.push_back(std::move(lane));
}

void WeightStaging::store_rows(void* target, DType target_type, int64_t cols, int64_t first,
                               int64_t step, const void* source, DType source_type, int64_t count) {
  const DeviceScope scope(device_);
  const size_t row_bytes = size_t(cols) * size_of(source_type);
  const int64_t per_piece = std::max<int64_t>(1, int64_t(kHalfBytes / row_bytes));
  std::unique_ptr<Lane> lane = acquire();
  const auto* from = static_cast<const char*>(source);
  for (int64_t row = 0; row < count; row += per_piece) {
    const int64_t rows = std::min(per_piece, count - row);
    const int half = lane->half;
    if (lane->used[half]) lane->done[half].wait();
    char* host = lane->host.data() + size_t(half) * kHalfBytes;
    char* device = static_cast<char*>(lane->device->data()) + size_t(half) * kHalfBytes;
    const size_t bytes = size_t(rows) * row_bytes;
    std::memcpy(host, from + size_t(row) * row_bytes, bytes);
    check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, lane->stream.get()),
          "Uploading weights");
    kernels::ConvertRowsArgs args;
    args.source = device;
    args.source_type = element_type(source_type);
    args.source_row_stride = cols;
    args.target = target;
    args.target_type = element_type(target_type);
    args.first = first + row * step;
    args.step = step;
    args.count = rows;
    args.cols = cols;
    check(kernels::convert_rows(args, lane->stream.get()), "Converting weights");
    lane->done[half].record(lane->stream.get());
    lane->used[half] = true;
    lane->half ^= 1;
  }
  release(std::move(lane));
}

void WeightStaging::finish() {
  const std::scoped_lock lock(mutex_);
  for (auto& lane : idle_) {
    for (int half = 0; half < 2; ++half) {
      if (lane->used[half]) lane->done[half].wait();
    }
  }
  idle_.clear();
}

}  // namespace komt::cuda
