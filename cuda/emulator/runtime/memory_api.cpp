// The memory part of the runtime API.
#include <utility>

#include "emulator/runtime/device.h"
#include "emulator/runtime/memory_window.h"
#include "emulator/runtime/settings.h"
#include "emulator/runtime/stream.h"
#include "emulator/runtime/transfer.h"
#include "emulator/runtime/watchdog.h"

using namespace komt::emulator;

namespace {

cudaError_t allocate(void** pointer, std::size_t bytes, int index) {
  *pointer = nullptr;
  if (bytes == 0) return cudaSuccess;
  catch_faults();
  *pointer = device(index).memory.allocate(bytes, device(index).memory_limit);
  return *pointer != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t copy(CopyWork work, cudaMemcpyKind kind, cudaStream_t handle, bool is_synchronous) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  StreamLock lock;
  const StreamPointer stream = lock.find(handle);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = device_error(stream->device)) return error;
  if (work.width == 0 || work.height == 0) return cudaSuccess;
  if (work.destination == nullptr || work.source == nullptr || !matches_direction(work, kind) ||
      (work.height > 1 &&
       (work.width > work.destination_pitch || work.width > work.source_pitch))) {
    return remember(cudaErrorInvalidValue);
  }
  if (is_synchronous && lock.any_capture()) return remember(cudaErrorStreamCaptureUnsupported);
  const bool is_captured = stream->capture != nullptr;
  const bool to_pageable = is_pageable(work.destination);
  if (!is_captured && !is_synchronous) {
    // From pageable memory the runtime copies before it returns; to pageable memory it has copied
    // when it returns (CUDA Runtime API, "API synchronization behavior").
    if (is_pageable(work.source)) stage_source(work);
    begin_transfer(work);
  }
  Operation operation(Operation::Kind::kCopy, stream->device);
  operation.copy = std::move(work);
  if (const cudaError_t error = lock.enqueue(stream, std::move(operation))) return remember(error);
  if (is_captured) return cudaSuccess;
  if (is_synchronous || to_pageable) {
    lock.run_all(stream);
    return remember(device_error(stream->device));
  }
  return cudaSuccess;
}

CopyWork dense_copy(void* destination, const void* source, std::size_t bytes) {
  return {destination, bytes, source, bytes, bytes, 1, {}};
}

cudaError_t set(void* pointer, int value, std::size_t bytes, cudaStream_t handle,
                bool is_synchronous) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  StreamLock lock;
  const StreamPointer stream = lock.find(handle);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = device_error(stream->device)) return error;
  if (bytes == 0) return cudaSuccess;
  if (is_pageable(pointer)) return remember(cudaErrorInvalidValue);
  Operation operation(Operation::Kind::kSet, stream->device);
  operation.set = {pointer, value, bytes};
  if (const cudaError_t error = lock.enqueue(stream, std::move(operation))) return remember(error);
  if (is_synchronous) lock.run_all(stream);
  return cudaSuccess;
}

}  // namespace

cudaError_t cudaMalloc(void** pointer, std::size_t bytes) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  StreamLock lock;
  const int index = current_device_index();
  if (const cudaError_t error = device_error(index)) return error;
  if (lock.any_capture()) return remember(cudaErrorStreamCaptureUnsupported);
  cudaError_t error = allocate(pointer, bytes, index);
  if (error == cudaErrorMemoryAllocation) {
    // What is on its way to be freed counts as free, once the device has got there.
    lock.run_device(index);
    error = allocate(pointer, bytes, index);
  }
  return remember(error);
}

cudaError_t cudaFree(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  StreamLock lock;
  const int owner = device_of(pointer);
  if (owner < 0) return remember(cudaErrorInvalidValue);
  if (lock.any_capture()) return remember(cudaErrorStreamCaptureUnsupported);
  lock.run_device(owner);
  return remember(device(owner).memory.free(pointer) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaMallocAsync(void** pointer, std::size_t bytes, cudaStream_t handle) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  StreamLock lock;
  const StreamPointer stream = lock.find(handle);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = device_error(stream->device)) return error;
  if (stream->capture) return remember(cudaErrorStreamCaptureUnsupported);
  cudaError_t error = allocate(pointer, bytes, stream->device);
  if (error == cudaErrorMemoryAllocation) {
    lock.run_device(stream->device);
    error = allocate(pointer, bytes, stream->device);
  }
  return remember(error);
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t handle) {
  if (pointer == nullptr) return cudaSuccess;
  StreamLock lock;
  const StreamPointer stream = lock.find(handle);
  const int owner = device_of(pointer);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  if (owner < 0) return remember(cudaErrorInvalidValue);
  Operation operation(Operation::Kind::kFree, owner);
  operation.free = {pointer};
  return remember(lock.enqueue(stream, std::move(operation)));
}

cudaError_t cudaHostAlloc(void** pointer, std::size_t bytes, unsigned) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  catch_faults();
  *pointer = pinned_memory().allocate(bytes);
  return remember(*pointer != nullptr ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaMallocHost(void** pointer, std::size_t bytes, unsigned flags) {
  return cudaHostAlloc(pointer, bytes, flags);
}

cudaError_t cudaFreeHost(void* pointer) {
  if (pointer == nullptr) return cudaSuccess;
  StreamLock lock;
  for (int i = 0; i < device_count(); ++i) lock.run_device(i);
  return remember(pinned_memory().free(pointer) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaHostGetDevicePointer(void** device_pointer, void* host_pointer, unsigned) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  if (!pinned_memory().contains(host_pointer)) return remember(cudaErrorInvalidValue);
  *device_pointer = host_pointer;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free_bytes, std::size_t* total_bytes) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  const int index = current_device_index();
  if (const cudaError_t error = device_error(index)) return error;
  const std::size_t used = device(index).memory.used();
  *total_bytes = device(index).memory_limit;
  *free_bytes = *total_bytes > used ? *total_bytes - used : 0;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  *attributes = {cudaMemoryTypeUnregistered, -1, nullptr, const_cast<void*>(pointer)};
  if (const int owner = device_of(pointer); owner >= 0) {
    *attributes = {cudaMemoryTypeDevice, owner, const_cast<void*>(pointer), nullptr};
  } else if (pinned_memory().contains(pointer)) {
    *attributes = {cudaMemoryTypeHost, current_device_index(), const_cast<void*>(pointer),
                   const_cast<void*>(pointer)};
  }
  return cudaSuccess;
}

cudaError_t cudaMemcpy(void* destination, const void* source, std::size_t bytes,
                       cudaMemcpyKind kind) {
  return copy(dense_copy(destination, source, bytes), kind, nullptr, true);
}

cudaError_t cudaMemcpyAsync(void* destination, const void* source, std::size_t bytes,
                            cudaMemcpyKind kind, cudaStream_t stream) {
  return copy(dense_copy(destination, source, bytes), kind, stream, false);
}

cudaError_t cudaMemcpy2D(void* destination, std::size_t destination_pitch, const void* source,
                         std::size_t source_pitch, std::size_t width, std::size_t height,
                         cudaMemcpyKind kind) {
  return copy({destination, destination_pitch, source, source_pitch, width, height, {}}, kind,
              nullptr, true);
}

cudaError_t cudaMemcpyPeerAsync(void* destination, int destination_device, const void* source,
                                int source_device, std::size_t bytes, cudaStream_t stream) {
  if (bytes != 0 &&
      (device_of(destination) != destination_device || device_of(source) != source_device)) {
    return remember(cudaErrorInvalidValue);
  }
  return copy(dense_copy(destination, source, bytes), cudaMemcpyDeviceToDevice, stream, false);
}

cudaError_t cudaMemcpyPeer(void* destination, int destination_device, const void* source,
                           int source_device, std::size_t bytes) {
  if (bytes != 0 &&
      (device_of(destination) != destination_device || device_of(source) != source_device)) {
    return remember(cudaErrorInvalidValue);
  }
  return copy(dense_copy(destination, source, bytes), cudaMemcpyDeviceToDevice, nullptr, true);
}

cudaError_t cudaMemset(void* pointer, int value, std::size_t bytes) {
  return set(pointer, value, bytes, nullptr, true);
}

cudaError_t cudaMemsetAsync(void* pointer, int value, std::size_t bytes, cudaStream_t stream) {
  return set(pointer, value, bytes, stream, false);
}
