#pragma once
// Owners of CUDA runtime objects, and the one place where its errors become exceptions.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/platform.cuh"
#include "engine/backend.h"

namespace komt::cuda {

/// Throws for anything but success. Errors that leave the context unusable say so: they come back
/// from every later call until the process ends.
void check(cudaError_t error, const char* what);

/// Makes `device` current on this thread while it lives.
class DeviceScope {
 public:
  explicit DeviceScope(int device);
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int before_ = 0;
};

/// Lets the current device reach the memory of `peer`, where the machine can: copies between the
/// two then take the bus or NVLink and no way through the host. Copies work either way.
void enable_peer_access(int peer);

/// A non-blocking stream of the current device.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// An event without timing.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t get() const { return event_; }
  void record(cudaStream_t stream);
  /// Blocks the host.
  void wait();

 private:
  cudaEvent_t event_ = nullptr;
};

/// Page-locked host memory.
class PinnedBuffer {
 public:
  explicit PinnedBuffer(size_t bytes);
  ~PinnedBuffer();
  PinnedBuffer(const PinnedBuffer&) = delete;
  PinnedBuffer& operator=(const PinnedBuffer&) = delete;
  char* data() const { return static_cast<char*>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

/// Page-locked buffers that are used again and again: downloads in flight hold one each.
class PinnedPool {
 public:
  std::unique_ptr<PinnedBuffer> take(size_t bytes);
  void give_back(std::unique_ptr<PinnedBuffer> buffer) noexcept;

 private:
  std::vector<std::unique_ptr<PinnedBuffer>> idle_;
};

/// Device memory.
class DeviceBuffer : public Buffer {
 public:
  DeviceBuffer(int device, size_t bytes, const char* purpose);
  ~DeviceBuffer() override;

 private:
  int device_;
};

}  // namespace komt::cuda
