// Host twin of ptx/address.cuh.
#pragma once

#include "emulator/device/execution.h"

namespace komt::ptx {

// Offset in the block's shared memory.
inline std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(static_cast<const unsigned char*>(p) -
                                    static_cast<unsigned char*>(emulator::dynamic_shared()));
}

}  // namespace komt::ptx
