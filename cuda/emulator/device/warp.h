// Functions in which the lanes of a warp exchange values: shuffles, votes, match and reduce.
#pragma once

#include <bit>
#include <cstring>
#include <type_traits>

#include "emulator/device/execution.h"

#define KOMT_EMULATOR_WHERE \
  ::komt::emulator::SourceLocation where = ::komt::emulator::SourceLocation::current()

namespace komt::emulator {

struct ShuffleArgument {
  std::uint64_t value;
  std::uint64_t result;
  unsigned source;
};

struct VoteArgument {
  std::uint64_t value;
  unsigned result;
};

void shuffle(void* const* arguments, unsigned mask);
void ballot(void* const* arguments, unsigned mask);
void match_any(void* const* arguments, unsigned mask);
void match_all(void* const* arguments, unsigned mask);

template <class T>
inline T shuffle_from(unsigned mask, T value, unsigned source, const Collective& collective,
                      SourceLocation where) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  ShuffleArgument argument{0, 0, source};
  std::memcpy(&argument.value, &value, sizeof(T));
  warp_collective(mask, collective, &argument, where);
  std::memcpy(&value, &argument.result, sizeof(T));
  return value;
}

inline constexpr Collective kShfl{"__shfl_sync", shuffle};
inline constexpr Collective kShflXor{"__shfl_xor_sync", shuffle};
inline constexpr Collective kShflUp{"__shfl_up_sync", shuffle};
inline constexpr Collective kShflDown{"__shfl_down_sync", shuffle};
inline constexpr Collective kBallot{"__ballot_sync", ballot};
inline constexpr Collective kAny{"__any_sync", ballot};
inline constexpr Collective kAll{"__all_sync", ballot};
inline constexpr Collective kMatchAny{"__match_any_sync", match_any};
inline constexpr Collective kMatchAll{"__match_all_sync", match_all};

inline unsigned vote(unsigned mask, std::uint64_t value, const Collective& collective,
                     SourceLocation where) {
  VoteArgument argument{value, 0};
  warp_collective(mask, collective, &argument, where);
  return argument.result;
}

template <class T>
inline std::uint64_t value_bits(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

template <class T, class Op>
inline void reduce(void* const* arguments, unsigned mask) {
  T result = *static_cast<T*>(arguments[std::countr_zero(mask)]);
  for (unsigned rest = mask & (mask - 1); rest != 0; rest &= rest - 1) {
    result = Op()(result, *static_cast<T*>(arguments[std::countr_zero(rest)]));
  }
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    *static_cast<T*>(arguments[std::countr_zero(rest)]) = result;
  }
}

}  // namespace komt::emulator

template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, KOMT_EMULATOR_WHERE) {
  const unsigned lane = komt::emulator::current_lane;
  const unsigned first = lane & ~unsigned(width - 1);
  return komt::emulator::shuffle_from(mask, value, first | (unsigned(source) & unsigned(width - 1)),
                                      komt::emulator::kShfl, where);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                         KOMT_EMULATOR_WHERE) {
  const unsigned lane = komt::emulator::current_lane;
  const unsigned last = lane | unsigned(width - 1);
  const unsigned source = lane ^ unsigned(lane_mask);
  return komt::emulator::shuffle_from(mask, value, source > last ? lane : source,
                                      komt::emulator::kShflXor, where);
}
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                        KOMT_EMULATOR_WHERE) {
  const unsigned lane = komt::emulator::current_lane;
  const unsigned position = lane & unsigned(width - 1);
  return komt::emulator::shuffle_from(mask, value, delta > position ? lane : lane - delta,
                                      komt::emulator::kShflUp, where);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                          KOMT_EMULATOR_WHERE) {
  const unsigned lane = komt::emulator::current_lane;
  const unsigned position = lane & unsigned(width - 1);
  return komt::emulator::shuffle_from(mask, value,
                                      position + delta >= unsigned(width) ? lane : lane + delta,
                                      komt::emulator::kShflDown, where);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, KOMT_EMULATOR_WHERE) {
  return komt::emulator::vote(mask, predicate != 0, komt::emulator::kBallot, where);
}
inline int __any_sync(unsigned mask, int predicate, KOMT_EMULATOR_WHERE) {
  return komt::emulator::vote(mask, predicate != 0, komt::emulator::kAny, where) != 0;
}
// Whether no lane says no, so that lanes which have exited don't count.
inline int __all_sync(unsigned mask, int predicate, KOMT_EMULATOR_WHERE) {
  return komt::emulator::vote(mask, predicate == 0, komt::emulator::kAll, where) == 0;
}
template <class T>
inline unsigned __match_any_sync(unsigned mask, T value, KOMT_EMULATOR_WHERE) {
  return komt::emulator::vote(mask, komt::emulator::value_bits(value), komt::emulator::kMatchAny,
                              where);
}
template <class T>
inline unsigned __match_all_sync(unsigned mask, T value, int* predicate, KOMT_EMULATOR_WHERE) {
  const unsigned result = komt::emulator::vote(mask, komt::emulator::value_bits(value),
                                               komt::emulator::kMatchAll, where);
  *predicate = result != 0;
  return result;
}

#define KOMT_EMULATOR_REDUCE(T, name, expression)                                              \
  inline T name(unsigned mask, T value, KOMT_EMULATOR_WHERE) {                                 \
    struct Op {                                                                                \
      T operator()(T a, T b) const { return expression; }                                      \
    };                                                                                         \
    static constexpr komt::emulator::Collective kReduce{#name, komt::emulator::reduce<T, Op>}; \
    komt::emulator::warp_collective(mask, kReduce, &value, where);                             \
    return value;                                                                              \
  }
KOMT_EMULATOR_REDUCE(unsigned, __reduce_add_sync, a + b)
KOMT_EMULATOR_REDUCE(unsigned, __reduce_min_sync, a < b ? a : b)
KOMT_EMULATOR_REDUCE(unsigned, __reduce_max_sync, a < b ? b : a)
KOMT_EMULATOR_REDUCE(int, __reduce_add_sync, static_cast<int>(unsigned(a) + unsigned(b)))
KOMT_EMULATOR_REDUCE(int, __reduce_min_sync, a < b ? a : b)
KOMT_EMULATOR_REDUCE(int, __reduce_max_sync, a < b ? b : a)
KOMT_EMULATOR_REDUCE(unsigned, __reduce_and_sync, a& b)
KOMT_EMULATOR_REDUCE(unsigned, __reduce_or_sync, a | b)
KOMT_EMULATOR_REDUCE(unsigned, __reduce_xor_sync, a ^ b)
#undef KOMT_EMULATOR_REDUCE
