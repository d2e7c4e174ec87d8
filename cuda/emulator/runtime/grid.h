// Running the blocks of a launch.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "emulator/runtime/block.h"

namespace komt::emulator {

// Blocks of a dependent launch that have run up to their grid_dependency_wait(), before their
// predecessor. They belong to the OS thread that started them.
struct BlocksAhead {
  std::vector<std::unique_ptr<Block>> parked;
  std::uint64_t started = 0;  // the first so many blocks, in the launch's order
  cudaError_t error = cudaSuccess;
};

BlocksAhead start_ahead(const KernelLaunch& launch);
void discard_ahead(BlocksAhead ahead);

// Runs what is left of the grid; the error that a fault in it leaves on the device, or cudaSuccess.
cudaError_t run_grid(const KernelLaunch& launch, BlocksAhead ahead);

}  // namespace komt::emulator
