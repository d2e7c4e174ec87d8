// Barriers, fences and the other statements a kernel makes about its threads' order.
#pragma once

#include "emulator/device/execution.h"

namespace komt::emulator {

inline constexpr Collective kSyncWarp{"__syncwarp", [](void* const*, unsigned) {}, true};

}  // namespace komt::emulator

inline void __syncthreads(
    komt::emulator::SourceLocation where = komt::emulator::SourceLocation::current()) {
  komt::emulator::block_barrier(where);
}
inline int __syncthreads_count(int predicate, komt::emulator::SourceLocation where =
                                                  komt::emulator::SourceLocation::current()) {
  return komt::emulator::block_barrier_reduce(komt::emulator::BarrierReduction::kCount,
                                              predicate != 0, "__syncthreads_count", where);
}
inline int __syncthreads_and(int predicate, komt::emulator::SourceLocation where =
                                                komt::emulator::SourceLocation::current()) {
  return komt::emulator::block_barrier_reduce(komt::emulator::BarrierReduction::kAnd,
                                              predicate != 0, "__syncthreads_and", where);
}
inline int __syncthreads_or(int predicate, komt::emulator::SourceLocation where =
                                               komt::emulator::SourceLocation::current()) {
  return komt::emulator::block_barrier_reduce(komt::emulator::BarrierReduction::kOr, predicate != 0,
                                              "__syncthreads_or", where);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, komt::emulator::SourceLocation where =
                                                        komt::emulator::SourceLocation::current()) {
  komt::emulator::warp_collective(mask, komt::emulator::kSyncWarp, nullptr, where);
}

inline void __threadfence_block() { komt::emulator::fence(komt::emulator::FenceScope::kBlock); }
inline void __threadfence() { komt::emulator::fence(komt::emulator::FenceScope::kDevice); }
inline void __threadfence_system() { komt::emulator::fence(komt::emulator::FenceScope::kSystem); }

inline void __nanosleep(unsigned) { komt::emulator::scheduling_point(); }
inline unsigned __activemask() { return komt::emulator::active_lanes(); }
[[noreturn]] inline void __trap(
    komt::emulator::SourceLocation where = komt::emulator::SourceLocation::current()) {
  komt::emulator::trap(where);
}
