// Atomics on global and shared memory: relaxed, as CUDA's are; order comes from fences.
#pragma once

#include <cstring>
#include <type_traits>

#include "emulator/device/execution.h"

namespace komt::emulator {

// The instrumented build turns the compiler's atomics into callbacks that know them for atomics.
template <class Word, class Update>
__forceinline__ Word atomic_update(Word* p, Update update) {
  static_assert(std::is_unsigned_v<Word>);
  scheduling_point();
  Word old = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(p, &old, update(old), false, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED)) {
  }
  return old;
}

template <std::size_t kBytes>
struct AtomicWord;
template <>
struct AtomicWord<2> {
  using type = std::uint16_t;
};
template <>
struct AtomicWord<4> {
  using type = std::uint32_t;
};
template <>
struct AtomicWord<8> {
  using type = std::uint64_t;
};

template <class T, class Update>
__forceinline__ T atomic_apply(T* p, Update update) {
  using Word = typename AtomicWord<sizeof(T)>::type;
  const Word old = atomic_update(reinterpret_cast<Word*>(p), [&](Word bits) {
    T value;
    std::memcpy(&value, &bits, sizeof(T));
    value = update(value);
    std::memcpy(&bits, &value, sizeof(T));
    return bits;
  });
  T result;
  std::memcpy(&result, &old, sizeof(T));
  return result;
}

}  // namespace komt::emulator

#define KOMT_EMULATOR_ATOMIC(T, name, expression)                                              \
  inline T name(T* p, T value) {                                                               \
    return komt::emulator::atomic_apply(p, [&](T old) { return static_cast<T>(expression); }); \
  }
#define KOMT_EMULATOR_INTEGER_ATOMICS(T, Unsigned)                                               \
  KOMT_EMULATOR_ATOMIC(T, atomicAdd, static_cast<Unsigned>(old) + static_cast<Unsigned>(value))  \
  KOMT_EMULATOR_ATOMIC(T, atomicSub, static_cast<Unsigned>(old) - static_cast<Unsigned>(value))  \
  KOMT_EMULATOR_ATOMIC(T, atomicExch, ((void)old, value))                                        \
  KOMT_EMULATOR_ATOMIC(T, atomicMin, old < value ? old : value)                                  \
  KOMT_EMULATOR_ATOMIC(T, atomicMax, old < value ? value : old)                                  \
  KOMT_EMULATOR_ATOMIC(T, atomicAnd, old& value)                                                 \
  KOMT_EMULATOR_ATOMIC(T, atomicOr, old | value)                                                 \
  KOMT_EMULATOR_ATOMIC(T, atomicXor, old ^ value)                                                \
  inline T atomicCAS(T* p, T expected, T desired) {                                              \
    return komt::emulator::atomic_apply(p,                                                       \
                                        [&](T old) { return old == expected ? desired : old; }); \
  }
KOMT_EMULATOR_INTEGER_ATOMICS(int, unsigned)
KOMT_EMULATOR_INTEGER_ATOMICS(unsigned, unsigned)
KOMT_EMULATOR_INTEGER_ATOMICS(unsigned long long, unsigned long long)
KOMT_EMULATOR_ATOMIC(long long, atomicMin, old < value ? old : value)
KOMT_EMULATOR_ATOMIC(long long, atomicMax, old < value ? value : old)
KOMT_EMULATOR_ATOMIC(unsigned, atomicInc, old >= value ? 0 : old + 1)
KOMT_EMULATOR_ATOMIC(unsigned, atomicDec, old == 0 || old > value ? value : old - 1)
KOMT_EMULATOR_ATOMIC(float, atomicAdd, old + value)
KOMT_EMULATOR_ATOMIC(float, atomicExch, ((void)old, value))
KOMT_EMULATOR_ATOMIC(double, atomicAdd, old + value)
#undef KOMT_EMULATOR_INTEGER_ATOMICS
#undef KOMT_EMULATOR_ATOMIC
