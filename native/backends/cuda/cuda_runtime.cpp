#include "backends/cuda/cuda_runtime.h"

#include <algorithm>

#include "engine/error.h"

namespace komt::cuda {

namespace {

/// Errors after which the CUDA programming guide has the process end: the context is gone.
bool is_sticky(cudaError_t error) {
  switch (error) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorMisalignedAddress:
    case cudaErrorIllegalInstruction:
    case cudaErrorHardwareStackError:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorECCUncorrectable: return true;
    default: return false;
  }
}

}  // namespace

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  (void)cudaGetLastError();  // what is not sticky must not be reported by the next call again
  std::string message = std::string(what) + " failed: " + cudaGetErrorString(error);
  if (error == cudaErrorMemoryAllocation) {
    throw Error::out_of_memory(message + ". Free some memory on the device, or use another one", 0, 0);
  }
  if (is_sticky(error)) {
    message += ". The device's context is lost; every call on it fails until this process is restarted";
  }
  throw Error(ErrorKind::device, message);
}

DeviceScope::DeviceScope(int device) {
  check(cudaGetDevice(&before_), "cudaGetDevice");
  if (before_ != device) check(cudaSetDevice(device), "cudaSetDevice");
}

DeviceScope::~DeviceScope() { (void)cudaSetDevice(before_); }

void enable_peer_access(int peer) {
  int device = 0;
  int possible = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceCanAccessPeer(&possible, device, peer), "cudaDeviceCanAccessPeer");
  if (!possible) return;
  // Another engine may have enabled it, and there may be too many peers; what is serious comes back from
  // the next call.
  if (cudaDeviceEnablePeerAccess(peer, 0) != cudaSuccess) (void)cudaGetLastError();
}

Stream::Stream() {
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
}
Stream::~Stream() { (void)cudaStreamDestroy(stream_); }

Event::Event() {
  check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreate");
}
Event::~Event() { (void)cudaEventDestroy(event_); }
void Event::record(cudaStream_t stream) { check(cudaEventRecord(event_, stream), "cudaEventRecord"); }
void Event::wait() { check(cudaEventSynchronize(event_), "Waiting for the device"); }

PinnedBuffer::PinnedBuffer(size_t bytes) : bytes_(bytes) {
  const cudaError_t error = cudaMallocHost(&data_, bytes);
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    throw Error::out_of_memory(
        "There is no room for " + std::to_string(bytes) +
            " bytes of page-locked host memory. Free some memory, or raise the limit on locked memory "
            "(ulimit -l, or the container's)",
        bytes, 0);
  }
  check(error, "cudaMallocHost");
}
PinnedBuffer::~PinnedBuffer() { (void)cudaFreeHost(data_); }

std::unique_ptr<PinnedBuffer> PinnedPool::take(size_t bytes) {
  for (auto& buffer : idle_) {
    if (buffer->bytes() < bytes) continue;
    std::swap(buffer, idle_.back());
    std::unique_ptr<PinnedBuffer> found = std::move(idle_.back());
    idle_.pop_back();
    return found;
  }
  return std::make_unique<PinnedBuffer>(std::max<size_t>(bytes, 4096));
}

void PinnedPool::give_back(std::unique_ptr<PinnedBuffer> buffer) noexcept {
  try {
    idle_.push_back(std::move(buffer));
  } catch (...) {
    // No memory for the list: then it is freed.
  }
}

DeviceBuffer::DeviceBuffer(int device, size_t bytes, const char* purpose)
    : Buffer(nullptr, bytes), device_(device) {
  const DeviceScope scope(device);
  const cudaError_t error = cudaMalloc(&data_, bytes == 0 ? 1 : bytes);
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    size_t free = 0;
    size_t total = 0;
    (void)cudaMemGetInfo(&free, &total);
    throw Error::out_of_memory(
        "Device " + std::to_string(device) + " has no room for " + purpose + ": " +
            std::to_string(bytes) + " bytes are needed, " + std::to_string(free) + " of " +
            std::to_string(total) +
            " are free. Use a smaller model or dtype, shorter sequences, or spread the layers "
            "over devices (device_map)",
        bytes, free);
  }
  check(error, "cudaMalloc");
}

DeviceBuffer::~DeviceBuffer() {
  int before = 0;
  (void)cudaGetDevice(&before);
  (void)cudaSetDevice(device_);
  (void)cudaFree(data_);
  (void)cudaSetDevice(before);
}

}  // namespace komt::cuda
