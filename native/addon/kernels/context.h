#pragma once
#include <cstdint>
#include <memory>
#include <unordered_set>

#include "backends/cuda/cuda_runtime.h"

namespace komt::addon::kernels {

class Allocation;
class Recording;

/// What the tensors of one device object share: the stream that everything is enqueued on and the
/// memory that kernels need beside their arguments. JavaScript thread only.
class Context {
 public:
  explicit Context(int device);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  int device() const { return device_; }
  cudaStream_t stream() const { return stream_->get(); }

  /// Throws `disposed` after dispose().
  void require_alive() const;
  /// Throws `invalid_argument` while launches are being recorded: the graph that comes of it refers to
  /// memory that must not go meanwhile.
  void require_no_recording() const;
  /// Waits for the device, then frees every allocation, the scratch memory and the stream.
  void dispose();

  void synchronize();

  /// At least `bytes` bytes of any contents, valid until the next call: on one stream, kernels that
  /// use it follow each other.
  void* scratch(size_t bytes);
  /// At least `count` zeros; kernels leave zeros behind.
  uint32_t* tickets(size_t count);

 private:
  friend class Allocation;
  friend class Recording;
  void reserve(std::unique_ptr<cuda::DeviceBuffer>& buffer, size_t bytes, bool zero);

  int device_;
  bool recording_ = false;
  std::unique_ptr<cuda::Stream> stream_;
  std::unique_ptr<cuda::DeviceBuffer> scratch_;
  std::unique_ptr<cuda::DeviceBuffer> tickets_;
  std::unordered_set<Allocation*> allocations_;
};

/// Device memory of one tensor. Freed by its own dispose(), by its context's, or with it.
class Allocation {
 public:
  Allocation(std::shared_ptr<Context> context, size_t bytes);
  ~Allocation();
  Allocation(const Allocation&) = delete;
  Allocation& operator=(const Allocation&) = delete;

  Context& context() const { return *context_; }
  /// Throws `disposed` when the memory was given back.
  char* data() const;
  size_t bytes() const { return bytes_; }
  void dispose();

 private:
  friend class Context;
  std::shared_ptr<Context> context_;
  size_t bytes_;
  std::unique_ptr<cuda::DeviceBuffer> buffer_;
};

}  // namespace komt::addon::kernels
