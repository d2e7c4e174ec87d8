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
  /// Takes its memory itself, so that none is lost where there is none for this object. data() is null
  /// where there is none.
  explicit HostBuffer(size_t bytes)
      : Buffer(::operator new(bytes > 0 ? bytes : 1, std::align_val_t(kAlignment), std::nothrow), bytes) {}
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
  /// Large pages are asked for. data() is null where the system refuses.
  explicit MappedBuffer(size_t bytes) : Buffer(map(whole_pages(bytes)), bytes) {}
  ~MappedBuffer() override {
    if (data_) munmap(data_, whole_pages(bytes_));
  }

 private:
  /// 0 for a size beyond all memory.
  static size_t whole_pages(size_t bytes) {
    const size_t page = size_t(sysconf(_SC_PAGESIZE));
    return bytes > SIZE_MAX - page ? 0 : (bytes + page - 1) / page * page;
  }
  static void* map(size_t bytes) {
    if (bytes == 0) return nullptr;
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return nullptr;
#if defined(MADV_HUGEPAGE)
    madvise(data, bytes, MADV_HUGEPAGE);
#endif
    return data;
  }
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
  std::unique_ptr<Buffer> buffer;
#if defined(KOMT_MAP_MEMORY)
  if (bytes >= (pages == Pages::large ? kMappedLarge : kMappedUsual)) {
    buffer = std::make_unique<MappedBuffer>(bytes);
  }
#else
  (void)pages;
#endif
  if (!buffer) buffer = std::make_unique<HostBuffer>(bytes);
  if (!buffer->data()) throw out_of_memory(bytes, purpose);
  return buffer;
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
