// Host twin of ptx/barrier.cuh.
#pragma once

#include "emulator/device/execution.h"

namespace komt::ptx {

inline void barrier_sync(int id, int threads,
                         emulator::SourceLocation where = emulator::SourceLocation::current()) {
  emulator::barrier_sync(id, threads, "bar.sync", where);
}

inline void barrier_arrive(int id, int threads,
                           emulator::SourceLocation where = emulator::SourceLocation::current()) {
  emulator::barrier_arrive(id, threads, "bar.arrive", where);
}

}  // namespace komt::ptx
