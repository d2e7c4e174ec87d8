#pragma once
// Host memory as a backend's memory.
#include <memory>

#include "engine/backend.h"

namespace komt::cpu {

/// Buffers and rows of weights begin at multiples of this.
inline constexpr size_t kAlignment = 256;

/// Large pages are asked for where the system has them: streaming many MB spends its time in page walks
/// else. What is never written costs nothing either way.
enum class Pages {
  usual,  ///< large ones only for tens of MiB
  large,
};

/// Uninitialised, aligned to kAlignment.
/// Throws out_of_memory, also for sizes that the system would promise and not keep.
std::unique_ptr<Buffer> allocate_host(size_t bytes, const char* purpose,
                                      Pages pages = Pages::usual);

/// Memory of an operation: grows, is never given back, and keeps no contents.
class Scratch {
 public:
  float* floats(size_t count);

 private:
  std::unique_ptr<Buffer> buffer_;
};

/// Rows padded with zeros to a multiple of kRowPadding elements.
class CpuWeight : public Weight {
 public:
  CpuWeight(DType dtype, int64_t rows, int64_t cols, const char* name);

  /// Elements from a row to the next.
  static int64_t stride_of(int64_t cols);
  int64_t stride() const { return stride_; }
  std::byte* row(int64_t i) const {
    return static_cast<std::byte*>(buffer_->data()) + size_t(i * stride_) * size_of(dtype_);
  }

 private:
  int64_t stride_;
  std::unique_ptr<Buffer> buffer_;
};

}  // namespace komt::cpu
