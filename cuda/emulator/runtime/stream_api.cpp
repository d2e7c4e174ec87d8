// The stream and event part of the runtime API.
#include <algorithm>
#include <chrono>
#include <utility>

#include "emulator/runtime/capture.h"
#include "emulator/runtime/device.h"
#include "emulator/runtime/settings.h"
#include "emulator/runtime/stream.h"

using namespace komt::emulator;

namespace {

// Waiting is what a capture forbids its streams.
cudaError_t refuse_in_capture(const StreamPointer& stream) {
  if (!stream->capture) return cudaSuccess;
  stream->capture->is_invalid = true;
  return cudaErrorStreamCaptureUnsupported;
}

}  // namespace

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  if (flags > cudaStreamNonBlocking) return remember(cudaErrorInvalidValue);
  StreamLock lock;
  *stream = lock.create(current_device_index(), flags != cudaStreamNonBlocking);
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  if (handle == nullptr) return remember(cudaErrorInvalidResourceHandle);
  StreamLock lock;
  return remember(lock.destroy(handle) ? cudaSuccess : cudaErrorInvalidResourceHandle);
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  StreamLock lock;
  const StreamPointer stream = lock.find(handle);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = refuse_in_capture(stream)) return remember(error);
  lock.run_all(stream);
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  return remember(device_error(stream->device));
}

cudaError_t cudaStreamQuery(cudaStream_t handle) {
  StreamLock lock;
  const StreamPointer stream = lock.find(handle);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  if (const cudaError_t error = refuse_in_capture(stream)) return remember(error);
  if (const cudaError_t error = device_error(stream->device)) return remember(error);
  if (stream->executed == stream->enqueued) return cudaSuccess;
  lock.run_some(stream);
  return cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize() {
  StreamLock lock;
  const int index = current_device_index();
  if (lock.any_capture()) return remember(cudaErrorStreamCaptureUnsupported);
  lock.run_device(index);
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  return remember(device_error(index));
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* user_data) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  StreamLock lock;
  const StreamPointer stream = lock.find(handle);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  Operation operation(Operation::Kind::kHost, stream->device);
  operation.host = {function, user_data};
  return remember(lock.enqueue(stream, std::move(operation)));
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  *event = new CUevent_st;
  (*event)->time = std::make_shared<EventTime>();
  (*event)->has_timing = (flags & cudaEventDisableTiming) == 0;
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  const StreamLock lock;
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  StreamLock lock;
  const StreamPointer stream = lock.find(handle);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  event->capture = stream->capture;
  event->stream = stream;
  if (stream->capture) {
    event->capture_position = stream->capture->branches[stream].end;
    return cudaSuccess;
  }
  Operation operation(Operation::Kind::kRecord, stream->device);
  operation.record = {event->time};
  const cudaError_t error = lock.enqueue(stream, std::move(operation));
  event->sequence = stream->enqueued;
  return remember(error);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  StreamLock lock;
  const StreamPointer stream = lock.find(handle);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  if (!event->stream) return cudaSuccess;
  if (event->capture) {
    if (!stream->capture) stream->capture = event->capture;
    if (stream->capture != event->capture) return remember(cudaErrorStreamCaptureIsolation);
    Capture& capture = *stream->capture;
    Capture::Branch& waited = capture.branches[event->stream];
    waited.joined = std::max(waited.joined, event->capture_position);
    // What this stream does from now on counts as its own work, to be joined in its turn.
    Capture::Branch& own = capture.branches[stream];
    own.end = std::max(own.end, event->capture_position);
    return cudaSuccess;
  }
  if (stream->capture) {
    stream->capture->is_invalid = true;
    return remember(cudaErrorStreamCaptureIsolation);
  }
  Operation operation(Operation::Kind::kWait, stream->device);
  operation.wait = {event->stream, event->sequence};
  return remember(lock.enqueue(stream, std::move(operation)));
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  StreamLock lock;
  if (!event->stream) return cudaSuccess;
  if (event->capture) return remember(cudaErrorStreamCaptureUnsupported);
  if (const cudaError_t error = device_error(event->stream->device)) return remember(error);
  if (event->stream->executed >= event->sequence) return cudaSuccess;
  lock.run_some(event->stream);
  return cudaErrorNotReady;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event == nullptr) return remember(cudaErrorInvalidResourceHandle);
  StreamLock lock;
  if (!event->stream) return cudaSuccess;
  if (event->capture) return remember(cudaErrorStreamCaptureUnsupported);
  lock.run_until(event->stream, event->sequence);
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  return remember(device_error(event->stream->device));
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  if (start == nullptr || end == nullptr || !start->has_timing || !end->has_timing ||
      !start->stream || !end->stream) {
    return remember(cudaErrorInvalidResourceHandle);
  }
  const StreamLock lock;
  if (start->stream->executed < start->sequence || end->stream->executed < end->sequence) {
    return cudaErrorNotReady;
  }
  *milliseconds =
      std::chrono::duration<float, std::milli>(end->time->when - start->time->when).count();
  return cudaSuccess;
}
