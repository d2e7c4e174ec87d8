// Where threads wait for one another.
#pragma once

namespace komt::emulator {

class Block;
struct Fiber;

// Fiber::waits_at of threads that wait for the previous kernel's end; compared by address.
extern const char* const kGridDependencyWait;

// After `fiber` has exited: what waited for all live threads of its warp but it goes on.
void complete_without(Block& block, const Fiber& fiber);

}  // namespace komt::emulator
