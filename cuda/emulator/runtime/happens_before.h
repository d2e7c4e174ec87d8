// Where the emulator tells the race detector (race/) what orders memory accesses. In builds without it
// race_detection() is false and none of this is called.
#pragma once

#include <cstddef>

#include "emulator/control.h"
#include "emulator/device/execution.h"

namespace komt::emulator {

class Block;
struct Fiber;
struct KernelLaunch;

// Set before main() by the object that the race build adds (race/tsan_callbacks.cpp).
extern bool race_detection_enabled;

void begin_launch_clocks(const KernelLaunch& launch);
void begin_block_clocks(Block& block);

// Lanes of one warp have met at __syncwarp().
void order_lanes(Block& block, unsigned warp, unsigned lanes);
// The thread's past becomes part of the barrier's; then the barrier's part of all that wait at it.
void release_to_barrier(Block& block, int id, Fiber& fiber);
void acquire_from_barrier(Block& block, int id);
// All threads of the block have met.
void order_block(Block& block);
void order_fence(Fiber& fiber);

// An access by the running thread on behalf of `where` (which the compiler didn't instrument).
void check_access(const void* p, std::size_t bytes, bool write, SourceLocation where);
// From the issue of a cp.async to its completion its target belongs to nobody.
void begin_async_write(const void* p, std::size_t bytes, SourceLocation where);
void end_async_write(const void* p, std::size_t bytes, SourceLocation where);

// Host-side writes and copies, in execution order.
void mark_written(const void* p, std::size_t bytes);
void mark_copied(void* destination, const void* source, std::size_t bytes);
void mark_unwritten(const void* p, std::size_t bytes);

}  // namespace komt::emulator
