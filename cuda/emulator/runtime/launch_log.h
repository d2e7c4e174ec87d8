// What ran, with which shapes, how long a block took.
#pragma once

#include "emulator/runtime/block.h"

namespace komt::emulator {

void log_launch(const KernelLaunch& launch, double seconds);

// The mean over the kernel's earlier launches; 0 before the first.
double expected_block_seconds(const KernelLaunch& launch);

}  // namespace komt::emulator
