#include "backends/cuda/device_pool.h"

#include <new>
#include <utility>

#include "engine/error.h"

namespace komt::cuda {

class DevicePool::Lent : public Buffer {
 public:
  Lent(DevicePool& pool, std::unique_ptr<DeviceBuffer> memory)
      : Buffer(memory->data(), memory->bytes()), pool_(pool), memory_(std::move(memory)) {}
  ~Lent() override { pool_.take_back(std::move(memory_)); }

 private:
  DevicePool& pool_;
  std::unique_ptr<DeviceBuffer> memory_;
};

std::unique_ptr<Buffer> DevicePool::allocate(size_t bytes, const char* purpose) {
  std::unique_ptr<DeviceBuffer> memory;
  if (const auto found = idle_.find(bytes); found != idle_.end()) {
    memory = std::move(found->second);
    idle_bytes_ -= bytes;
    idle_.erase(found);
  } else {
    try {
      memory = std::make_unique<DeviceBuffer>(device_, bytes, purpose);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::out_of_memory || idle_.empty()) throw;
      trim();
      memory = std::make_unique<DeviceBuffer>(device_, bytes, purpose);
    }
  }
  return std::make_unique<Lent>(*this, std::move(memory));
}

void DevicePool::trim() {
  idle_.clear();
  idle_bytes_ = 0;
}

void DevicePool::take_back(std::unique_ptr<DeviceBuffer> buffer) noexcept {
  const size_t bytes = buffer->bytes();
  if (bytes > kLargestKept || idle_bytes_ + bytes > kMostIdle) return;
  try {
    idle_.emplace(bytes, std::move(buffer));
    idle_bytes_ += bytes;
  } catch (const std::bad_alloc&) {
    // Then it is freed.
  }
}

}  // namespace komt::cuda
