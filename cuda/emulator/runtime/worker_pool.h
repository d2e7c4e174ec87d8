// OS threads that help with the blocks of a large grid.
#pragma once

#include <functional>

namespace komt::emulator {

// Runs `work` on the calling thread and on up to `helpers` others at once; returns when all have
// returned.
void run_with_helpers(int helpers, const std::function<void()>& work);

}  // namespace komt::emulator
