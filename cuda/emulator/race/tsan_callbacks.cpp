// What `-fsanitize=thread` makes the compiler call at each memory access (the interface of
// compiler-rt's and GCC's libtsan), answered by the emulator's own detector: one that knows fibers,
// barriers and blocks.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "emulator/race/access.h"
#include "emulator/race/clocks.h"
#include "emulator/runtime/block.h"
#include "emulator/runtime/happens_before.h"

namespace {

using komt::emulator::AccessKind;

void on_access(const volatile void* p, std::size_t bytes, AccessKind kind, const void* caller) {
  if (komt::emulator::current_fiber == nullptr) return;
  komt::emulator::judge_access(const_cast<const void*>(p), bytes, kind,
                               komt::emulator::place_of(caller));
}

}  // namespace

#define KOMT_CALLER __builtin_extract_return_addr(__builtin_return_address(0))

#define KOMT_TSAN_ACCESS(bytes)                                                               \
  void __tsan_read##bytes(void* p) { on_access(p, bytes, AccessKind::kRead, KOMT_CALLER); }   \
  void __tsan_write##bytes(void* p) { on_access(p, bytes, AccessKind::kWrite, KOMT_CALLER); } \
  void __tsan_unaligned_read##bytes(void* p) {                                                \
    on_access(p, bytes, AccessKind::kRead, KOMT_CALLER);                                      \
  }                                                                                           \
  void __tsan_unaligned_write##bytes(void* p) {                                               \
    on_access(p, bytes, AccessKind::kWrite, KOMT_CALLER);                                     \
  }                                                                                           \
  void __tsan_volatile_read##bytes(void* p) {                                                 \
    on_access(p, bytes, AccessKind::kRead, KOMT_CALLER);                                      \
  }                                                                                           \
  void __tsan_volatile_write##bytes(void* p) {                                                \
    on_access(p, bytes, AccessKind::kWrite, KOMT_CALLER);                                     \
  }

#define KOMT_TSAN_RMW(bits, T, name, builtin)                   \
  T __tsan_atomic##bits##_##name(volatile T* p, T value, int) { \
    on_access(p, sizeof(T), AccessKind::kAtomic, KOMT_CALLER);  \
    return builtin(p, value, __ATOMIC_SEQ_CST);                 \
  }

#define KOMT_TSAN_CAS(bits, T, name)                                                            \
  int __tsan_atomic##bits##_compare_exchange_##name(volatile T* p, T* expected, T desired, int, \
                                                    int) {                                      \
    on_access(p, sizeof(T), AccessKind::kAtomic, KOMT_CALLER);                                  \
    return __atomic_compare_exchange_n(p, expected, desired, false, __ATOMIC_SEQ_CST,           \
                                       __ATOMIC_SEQ_CST);                                       \
  }

#define KOMT_TSAN_ATOMICS(bits, T)                                \
  T __tsan_atomic##bits##_load(const volatile T* p, int) {        \
    on_access(p, sizeof(T), AccessKind::kAtomic, KOMT_CALLER);    \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                  \
  }                                                               \
  void __tsan_atomic##bits##_store(volatile T* p, T value, int) { \
    on_access(p, sizeof(T), AccessKind::kAtomic, KOMT_CALLER);    \
    __atomic_store_n(p, value, __ATOMIC_SEQ_CST);                 \
  }                                                               \
  KOMT_TSAN_RMW(bits, T, exchange, __atomic_exchange_n)           \
  KOMT_TSAN_RMW(bits, T, fetch_add, __atomic_fetch_add)           \
  KOMT_TSAN_RMW(bits, T, fetch_sub, __atomic_fetch_sub)           \
  KOMT_TSAN_RMW(bits, T, fetch_and, __atomic_fetch_and)           \
  KOMT_TSAN_RMW(bits, T, fetch_or, __atomic_fetch_or)             \
  KOMT_TSAN_RMW(bits, T, fetch_xor, __atomic_fetch_xor)           \
  KOMT_TSAN_RMW(bits, T, fetch_nand, __atomic_fetch_nand)         \
  KOMT_TSAN_CAS(bits, T, strong)                                  \
  KOMT_TSAN_CAS(bits, T, weak)

extern "C" {

// Called by a constructor of every instrumented object file.
void __tsan_init() { komt::emulator::race_detection_enabled = true; }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

KOMT_TSAN_ACCESS(1)
KOMT_TSAN_ACCESS(2)
KOMT_TSAN_ACCESS(4)
KOMT_TSAN_ACCESS(8)
KOMT_TSAN_ACCESS(16)

void __tsan_read_range(void* p, std::size_t bytes) {
  if (bytes != 0) on_access(p, bytes, AccessKind::kRead, KOMT_CALLER);
}
void __tsan_write_range(void* p, std::size_t bytes) {
  if (bytes != 0) on_access(p, bytes, AccessKind::kWrite, KOMT_CALLER);
}

void* __tsan_memcpy(void* destination, const void* source, std::size_t bytes) {
  if (bytes != 0) on_access(source, bytes, AccessKind::kRead, KOMT_CALLER);
  if (bytes != 0) on_access(destination, bytes, AccessKind::kWrite, KOMT_CALLER);
  return std::memcpy(destination, source, bytes);
}
void* __tsan_memmove(void* destination, const void* source, std::size_t bytes) {
  if (bytes != 0) on_access(source, bytes, AccessKind::kRead, KOMT_CALLER);
  if (bytes != 0) on_access(destination, bytes, AccessKind::kWrite, KOMT_CALLER);
  return std::memmove(destination, source, bytes);
}
void* __tsan_memset(void* destination, int value, std::size_t bytes) {
  if (bytes != 0) on_access(destination, bytes, AccessKind::kWrite, KOMT_CALLER);
  return std::memset(destination, value, bytes);
}

KOMT_TSAN_ATOMICS(8, std::uint8_t)
KOMT_TSAN_ATOMICS(16, std::uint16_t)
KOMT_TSAN_ATOMICS(32, std::uint32_t)
KOMT_TSAN_ATOMICS(64, std::uint64_t)

void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int) {}

}  // extern "C"
