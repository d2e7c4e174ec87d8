// Where the emulator tells the race detector (race/) what orders memory accesses. In builds without
// it race_detection_enabled is false and none of this is called.
#pragma once

#include <cstddef>

#include "emulator/control.h"
#include "emulator/device/execution.h"

namespace komt::emulator {

class Block;
struct Fiber;

// Set by race/tsan_callbacks.cpp, which instrumented code links in.
extern bool race_detection_enabled;

void begin_block_clocks(Block& block);

// Lanes of one warp have met at __syncwarp().
void order_lanes(Block& block, unsigned warp, unsigned lanes);
// The thread's past becomes part of the barrier's; then the barrier's part of all that wait at it.
void release_to_barrier(Block& block, int id, Fiber& fiber);
void acquire_from_barrier(Block& block, int id);
// All threads of the block have met.
void order_block(Block& block);
void order_fence(Block& block, Fiber& fiber, FenceScope scope);

// An access by the running thread that the compiler didn't instrument.
void check_access(const void* p, std::size_t bytes, bool write, SourceLocation where);
// From the issue of a cp.async to its completion its target belongs to nobody.
void begin_async_write(const void* p, std::size_t bytes, SourceLocation where);
void end_async_write(const void* p, std::size_t bytes, SourceLocation where);

// The running thread's earlier writes to shared memory become visible to asynchronous readers.
void order_proxy_fence(Block& block, Fiber& fiber);
// What wgmma reads belongs to it from its issue to its completion, which the running thread waits for.
void begin_async_read(const void* p, std::size_t bytes);
void end_async_read(const void* p, std::size_t bytes, SourceLocation where);

// What the host or a copy does to memory, in the order it is carried out.
void mark_written(const void* p, std::size_t bytes);
void mark_copied(void* destination, const void* source, std::size_t bytes);
void mark_unwritten(const void* p, std::size_t bytes);
// Shared memory of a new block; who accessed it in earlier ones is of no interest.
void mark_fresh(const void* p, std::size_t bytes);

}  // namespace komt::emulator
