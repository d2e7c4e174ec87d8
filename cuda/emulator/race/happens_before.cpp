// Race detection is off in this build.
#include "emulator/runtime/happens_before.h"

namespace komt::emulator {

bool race_detection_enabled = false;
bool race_detection() { return race_detection_enabled; }
void begin_launch_clocks(const KernelLaunch&) {}
void begin_block_clocks(Block&) {}
void order_lanes(Block&, unsigned, unsigned) {}
void release_to_barrier(Block&, int, Fiber&) {}
void acquire_from_barrier(Block&, int) {}
void order_block(Block&) {}
void order_fence(Fiber&) {}
void check_access(const void*, std::size_t, bool, SourceLocation) {}
void begin_async_write(const void*, std::size_t, SourceLocation) {}
void end_async_write(const void*, std::size_t, SourceLocation) {}
void mark_written(const void*, std::size_t) {}
void mark_copied(void*, const void*, std::size_t) {}
void mark_unwritten(const void*, std::size_t) {}

}  // namespace komt::emulator
