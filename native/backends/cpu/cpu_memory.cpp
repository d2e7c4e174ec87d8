#include "backends/cpu/cpu_memory.h"

#include <cstdint>
#include <new>
#include <string>

#include "backends/cpu/cpu_info.h"
#include "backends/cpu/kernels.h"
#include "engine/error.h"

// Sanitizers know what operator new gives, and nothing of mapped memory.
#if defined(__linux__) && !defined(KOMT_SANITIZED)
#define KOMT_MAP_MEMORY 1
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace komt::cpu {
namespace {

// Below this the machine's free memory is not asked for: reading it costs more than it tells.
constexpr size_t kSmall = size_t(64) << 20;

class HostBuffer : public Buffer {
 public:
  HostBuffer(void* data, size_t bytes) : Buffer(data, bytes) {}
  ~HostBuffer() override { ::operator delete(data_, std::align_val_t(kAlignment)); }
};

#if defined(KOMT_MAP_MEMORY)
// The system puts mappings side by side and joins them, so matrices that are created before any is
// filled share large pages, and none is rounded up to them. From this size on it is worth a call.
constexpr size_t kMappedLarge = size_t(256) << 10;
// What is written bit by bit, as a cache is, takes whole large pages: a small part of this.
constexpr size_t kMappedUsual = size_t(32) << 20;

class MappedBuffer : public Buffer {
 public:
  /// Large pages are asked for. Null where the system refuses.
  static std::unique_ptr<Buffer> create(size_t bytes) {
    const size_t page = size_t(sysconf(_SC_PAGESIZE));
    if (bytes > SIZE_MAX - page) return nullptr;
    const size_t mapped = (bytes + page - 1) / page * page;
    void* data = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return nullptr;
#if defined(MADV_HUGEPAGE)
    madvise(data, mapped, MADV_HUGEPAGE);
#endif
    return std::unique_ptr<Buffer>(new MappedBuffer(data, bytes, mapped));
  }
  ~MappedBuffer() override { munmap(data_, mapped_); }

 private:
  MappedBuffer(void* data, size_t bytes, size_t mapped) : Buffer(data, bytes), mapped_(mapped) {}
  size_t mapped_;
};
#endif

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

std::unique_ptr<Buffer> allocate_host(size_t bytes, const char* purpose, Pages pages) {
  if (bytes >= kSmall && bytes > host_memory().free) throw out_of_memory(bytes, purpose);
#if defined(KOMT_MAP_MEMORY)
  if (bytes >= (pages == Pages::large ? kMappedLarge : kMappedUsual)) {
    std::unique_ptr<Buffer> buffer = MappedBuffer::create(bytes);
    if (!buffer) throw out_of_memory(bytes, purpose);
    return buffer;
  }
#else
  (void)pages;
#endif
  void* data = ::operator new(bytes > 0 ? bytes : 1, std::align_val_t(kAlignment), std::nothrow);
  if (!data) throw out_of_memory(bytes, purpose);
  return std::make_unique<HostBuffer>(data, bytes);
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
  buffer_ = allocate_host(fits ? size_t(rows) * row_bytes : SIZE_MAX, name, Pages::large);
}

}  // namespace komt::cpu
