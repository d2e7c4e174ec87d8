#include "backends/cpu/cpu_memory.h"

#include <cstdint>
#include <new>
#include <string>

#include "backends/cpu/cpu_info.h"
#include "backends/cpu/kernels.h"
#include "engine/error.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace komt::cpu {
namespace {

constexpr size_t kHugePage = size_t(2) << 20;
// Below this the machine's free memory is not asked for: reading it costs more than it tells.
constexpr size_t kSmall = size_t(64) << 20;

class HostBuffer : public Buffer {
 public:
  HostBuffer(void* data, size_t bytes, size_t alignment)
      : Buffer(data, bytes), alignment_(alignment) {}
  ~HostBuffer() override { ::operator delete(data_, std::align_val_t(alignment_)); }

 private:
  size_t alignment_;
};

Error out_of_memory(size_t bytes, const char* purpose) {
  const MemoryInfo memory = host_memory();
  const auto mib = [](uint64_t b) { return std::to_string((b + (1 << 20) - 1) >> 20) + " MiB"; };
  return Error::out_of_memory("Not enough memory for " + std::string(purpose) + ": " + mib(bytes) +
                                  " needed, " + mib(memory.free) + " free of " +
                                  mib(memory.total) +
                                  ". A smaller dtype, fewer or shorter sequences need less",
                              bytes, memory.free);
}

}  // namespace

std::unique_ptr<Buffer> allocate_host(size_t bytes, const char* purpose) {
  if (bytes >= kSmall && bytes > host_memory().free) throw out_of_memory(bytes, purpose);
  const size_t alignment = bytes >= 4 * kHugePage ? kHugePage : kAlignment;
  void* data = ::operator new(bytes > 0 ? bytes : 1, std::align_val_t(alignment), std::nothrow);
  if (!data) throw out_of_memory(bytes, purpose);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  // Advice: without it streaming weights spends its time in page walks.
  if (alignment == kHugePage) madvise(data, bytes & ~(kHugePage - 1), MADV_HUGEPAGE);
#endif
  return std::make_unique<HostBuffer>(data, bytes, alignment);
}

float* Scratch::floats(size_t count) {
  const size_t bytes = count * sizeof(float);
  if (!buffer_ || buffer_->bytes() < bytes) {
    buffer_.reset();
    buffer_ = allocate_host(bytes, "intermediate results");
  }
  return static_cast<float*>(buffer_->data());
}

int64_t CpuWeight::stride_of(int64_t cols) {
  return (cols + kRowPadding - 1) / kRowPadding * kRowPadding;
}

CpuWeight::CpuWeight(DType dtype, int64_t rows, int64_t cols, const char* name)
    : Weight(dtype, rows, cols), stride_(stride_of(cols)) {
  // Sizes beyond all memory are asked for as the largest one, which is refused with its name.
  const size_t row_bytes = size_t(stride_) * size_of(dtype);
  const bool fits = row_bytes == 0 || size_t(rows) <= SIZE_MAX / row_bytes;
  buffer_ = allocate_host(fits ? size_t(rows) * row_bytes : SIZE_MAX, name);
}

}  // namespace komt::cpu
