// The devices whose memory the CPU may touch at the moment: none while the host runs, those that an
// operation may reach while it is carried out.
#pragma once

#include <cstdint>

namespace komt::emulator {

// Under the stream lock. Devices outside the set are closed.
void open_memory(std::uint32_t devices);

// Opens a device's memory until the next open_memory(): after a forbidden access was reported, so
// that it can go on.
void open_memory_for_offender(int device);

}  // namespace komt::emulator
