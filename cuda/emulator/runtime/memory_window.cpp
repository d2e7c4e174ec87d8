#include "emulator/runtime/memory_window.h"

#include <atomic>

#include "emulator/runtime/device.h"
#include "emulator/runtime/settings.h"

namespace komt::emulator {

namespace {

std::atomic<std::uint32_t> open_devices{0};

}  // namespace

void open_memory(std::uint32_t devices) {
  if (!settings().host_access_check) devices = (1u << kMaxDevices) - 1;
  const std::uint32_t before = open_devices.exchange(devices);
  for (int i = 0; i < kMaxDevices; ++i) {
    const std::uint32_t bit = 1u << i;
    if ((devices & bit) != 0 && (before & bit) == 0) device(i).memory.open();
    if ((devices & bit) == 0 && (before & bit) != 0) device(i).memory.close();
  }
}

void open_memory_for_offender(int index) {
  if ((open_devices.fetch_or(1u << index) >> index & 1) == 0) device(index).memory.open();
}

}  // namespace komt::emulator
