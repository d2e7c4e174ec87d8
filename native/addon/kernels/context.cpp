#include "kernels/context.h"

#include <string>
#include <utility>

#include "engine/error.h"

namespace komt::addon::kernels {

Context::Context(int device) : device_(device) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || device < 0 || device >= count) {
    (void)cudaGetLastError();
    throw Error(ErrorKind::device, "There is no CUDA device " + std::to_string(device) + " (" +
                                       std::to_string(error == cudaSuccess ? count : 0) +
                                       " found)");
  }
  const cuda::DeviceScope scope(device);
  stream_ = std::make_unique<cuda::Stream>();
}

Context::~Context() { dispose(); }

void Context::require_alive() const {
  if (!stream_) throw Error(ErrorKind::disposed, "The device was disposed");
}

void Context::require_no_recording() const {
  if (!recording_) return;
  throw Error(ErrorKind::invalid_argument,
              "Nothing is disposed, waited for, read, written or recorded while launches are measured");
}

void Context::dispose() {
  if (!stream_) return;
  // Whatever a kernel did wrong has been, or will be, reported by a call that asks for a result.
  (void)cudaStreamSynchronize(stream_->get());
  (void)cudaGetLastError();
  for (Allocation* allocation : allocations_) allocation->buffer_.reset();
  allocations_.clear();
  scratch_.reset();
  tickets_.reset();
  stream_.reset();
}

void Context::synchronize() {
  require_alive();
  require_no_recording();
  cuda::check(cudaStreamSynchronize(stream()), "Running kernels on the device");
}

void* Context::scratch(size_t bytes) {
  reserve(scratch_, bytes, false);
  return scratch_->data();
}

uint32_t* Context::tickets(size_t count) {
  reserve(tickets_, count * sizeof(uint32_t), true);
  return static_cast<uint32_t*>(tickets_->data());
}

void Context::reserve(std::unique_ptr<cuda::DeviceBuffer>& buffer, size_t bytes, bool zero) {
  require_alive();
  if (buffer && buffer->bytes() >= bytes) return;
  if (buffer) synchronize();
  buffer.reset();
  buffer = std::make_unique<cuda::DeviceBuffer>(device_, bytes, "a kernel's scratch memory");
  if (zero) cuda::check(cudaMemsetAsync(buffer->data(), 0, bytes, stream()), "cudaMemset");
}

Allocation::Allocation(std::shared_ptr<Context> context, size_t bytes)
    : context_(std::move(context)), bytes_(bytes) {
  context_->require_alive();
  buffer_ = std::make_unique<cuda::DeviceBuffer>(context_->device(), bytes, "a tensor");
  context_->allocations_.insert(this);
}

Allocation::~Allocation() { dispose(); }

char* Allocation::data() const {
  if (!buffer_) throw Error(ErrorKind::disposed, "The tensor was disposed");
  return static_cast<char*>(buffer_->data());
}

void Allocation::dispose() {
  if (!buffer_) return;
  // Kernels that still use the memory come first.
  (void)cudaStreamSynchronize(context_->stream());
  buffer_.reset();
  context_->allocations_.erase(this);
}

}  // namespace komt::addon::kernels
