// The emulated devices and the state of the process and of each host thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "emulator/runtime/global_memory.h"
#include "emulator/runtime/pinned_memory.h"
#include "emulator/runtime_types.h"

namespace komt::emulator {

inline constexpr int kMaxDevices = 8;

struct Device {
  GlobalMemory memory;
  std::atomic<std::size_t> memory_limit;
  std::atomic<int> major{9};
  std::atomic<int> minor{0};
  std::atomic<int> sticky_error{cudaSuccess};
  std::atomic<bool> reported{false};    // a check failed; cudaErrorAssert until forgiven
  std::atomic<std::uint32_t> peers{0};  // devices whose memory its kernels may touch
};

int device_count();
Device& device(int index);
PinnedMemory& pinned_memory();

// Of the calling host thread; may lie beyond device_count() after that was lowered.
int current_device_index();
void set_current_device_index(int index);

// The device whose memory holds p, or -1.
int device_of(const void* p);

// The sticky error of a device, if it has one.
cudaError_t device_error(int index);
void set_sticky_error(int index, cudaError_t error);

// Remembers `error` for cudaGetLastError() of this host thread, and returns it.
cudaError_t remember(cudaError_t error);

// Reports writes behind the ends of allocations, on every device.
void check_global_gaps();

void mark_reported(int device);
void forgive_reports();

}  // namespace komt::emulator
