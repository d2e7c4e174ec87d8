// Judges every access of a kernel to shared and global memory.
#pragma once

#include <cstddef>

#include "emulator/race/places.h"

namespace komt::emulator {

enum class AccessKind { kRead, kWrite, kAtomic };

// By the running thread. Addresses that are neither shared nor global (stacks, constants,
// arguments) are nobody else's business.
void judge_access(const void* p, std::size_t bytes, AccessKind kind, Place place);

}  // namespace komt::emulator
