#include "emulator/runtime/virtual_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#if KOMT_EMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace komt::emulator {

namespace {

int native_protection(Protection protection) {
  switch (protection) {
    case Protection::kNone: return PROT_NONE;
    case Protection::kRead: return PROT_READ;
    case Protection::kReadWrite: return PROT_READ | PROT_WRITE;
  }
  return PROT_NONE;
}

}  // namespace

unsigned char* reserve_pages(std::size_t bytes, Protection protection) {
  void* pages = mmap(nullptr, bytes, native_protection(protection),
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return pages == MAP_FAILED ? nullptr : static_cast<unsigned char*>(pages);
}

void release_pages(unsigned char* pages, std::size_t bytes) { munmap(pages, bytes); }

void protect_pages(unsigned char* pages, std::size_t bytes, Protection protection) {
  mprotect(pages, bytes, native_protection(protection));
}

std::size_t page_size() {
  static const std::size_t size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

void forbid_memory([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t bytes) {
#if KOMT_EMULATOR_ASAN
  ASAN_POISON_MEMORY_REGION(p, bytes);
#endif
}

void allow_memory([[maybe_unused]] const void* p, [[maybe_unused]] std::size_t bytes) {
#if KOMT_EMULATOR_ASAN
  ASAN_UNPOISON_MEMORY_REGION(p, bytes);
#endif
}

}  // namespace komt::emulator
