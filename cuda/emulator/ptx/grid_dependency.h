// Host twin of ptx/grid_dependency.cuh.
#pragma once

#include "emulator/device/execution.h"

namespace komt::ptx {

inline void grid_dependency_wait(
    emulator::SourceLocation where = emulator::SourceLocation::current()) {
  emulator::grid_dependency_wait(where);
}

inline void grid_dependency_launch() { emulator::grid_dependency_launch(); }

}  // namespace komt::ptx
