#include "faults.h"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <dlfcn.h>
#include <pthread.h>
#endif

namespace komt::test {

namespace {

struct Counter {
  std::atomic<uint64_t> seen{0};
  std::atomic<uint64_t> failing{0};
};
constinit Counter counters[2];

/// Whether this one is to fail.
bool strike(Fault fault) noexcept {
  if (Exempt::depth() > 0) return false;
  Counter& counter = counters[int(fault)];
  return ++counter.seen == counter.failing;
}

}  // namespace

int& Exempt::depth() {
  static thread_local int depth = 0;
  return depth;
}

uint64_t inject(Fault fault, uint64_t n) {
  Counter& counter = counters[int(fault)];
  counter.failing = n;
  return counter.seen.exchange(0);
}

namespace {

void* allocate(std::size_t bytes, std::size_t alignment) noexcept {
  if (strike(Fault::allocation)) return nullptr;
  if (bytes > PTRDIFF_MAX) return nullptr;
  if (bytes == 0) bytes = 1;
  if (alignment <= alignof(max_align_t)) return std::malloc(bytes);
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
  void* memory = allocate(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

}  // namespace komt::test

using namespace komt::test;

// Arrays come here by way of these.
void* operator new(std::size_t bytes) { return allocate_or_throw(bytes, 1); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, std::size_t(alignment));
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes, 1); }
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(bytes, std::size_t(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t, const std::nothrow_t&) noexcept {
  std::free(memory);
}

#if defined(__linux__)
// std::thread, in the standard library, finds this one before the C library's.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*body)(void*), void* argument) noexcept {
  using Function = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto next = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "pthread_create"));
  if (strike(Fault::thread_start)) return EAGAIN;
  return next(thread, attributes, body, argument);
}
#endif
