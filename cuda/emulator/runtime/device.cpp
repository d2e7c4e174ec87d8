#include "emulator/runtime/device.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "emulator/control.h"
#include "emulator/runtime/report.h"
#include "emulator/runtime/settings.h"
#include "emulator/runtime/shared_memory.h"
#include "emulator/runtime/stream.h"
#include "emulator/runtime_api.h"

namespace komt::emulator {

namespace {

constexpr std::size_t kDefaultMemory = std::size_t{4} << 30;
constexpr int kMultiprocessors = 132;  // an H200's, so that launch heuristics see a real machine
constexpr int kThreadsPerMultiprocessor = 2048;
constexpr std::size_t kSharedPerMultiprocessor = 228 * 1024;
constexpr int kL2Bytes = 50 * 1024 * 1024;

std::uint64_t from_environment(const char* name, std::uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr || *text == '\0' ? fallback : std::strtoull(text, nullptr, 10);
}

struct Machine {
  Device devices[kMaxDevices];
  std::atomic<int> count;
  std::atomic<bool> peers_possible{true};
  PinnedMemory pinned;

  Machine()
      : count(std::clamp(static_cast<int>(from_environment("KOMT_EMULATOR_DEVICES", 1)), 1,
                         kMaxDevices)) {
    for (Device& device : devices) {
      device.memory_limit = from_environment("KOMT_EMULATOR_MEMORY", kDefaultMemory);
    }
  }
};

// Never destroyed: host threads may call until the process is gone.
Machine& machine() {
  static auto* machine = new Machine;
  return *machine;
}

constinit thread_local int current_index = 0;
constinit thread_local cudaError_t last_error = cudaSuccess;

}  // namespace

int device_count() { return machine().count; }
Device& device(int index) { return machine().devices[index]; }
PinnedMemory& pinned_memory() { return machine().pinned; }
int current_device_index() { return current_index; }
void set_current_device_index(int index) { current_index = index; }

int device_of(const void* p) {
  for (int i = 0; i < kMaxDevices; ++i) {
    if (device(i).memory.contains(p)) return i;
  }
  return -1;
}

cudaError_t device_error(int index) {
  const auto sticky = static_cast<cudaError_t>(device(index).sticky_error.load());
  if (sticky != cudaSuccess) return sticky;
  return device(index).reported ? cudaErrorAssert : cudaSuccess;
}

void set_sticky_error(int index, cudaError_t error) {
  int none = cudaSuccess;
  device(index).sticky_error.compare_exchange_strong(none, error);
}

cudaError_t remember(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  return error;
}

void check_global_gaps() {
  for (int i = 0; i < kMaxDevices; ++i) device(i).memory.check_gaps();
}

void mark_reported(int index) { device(index).reported = true; }

void forgive_reports() {
  for (int i = 0; i < kMaxDevices; ++i) {
    if (device(i).reported.exchange(false)) device(i).sticky_error = cudaSuccess;
  }
  last_error = cudaSuccess;
}

void set_device_count(int count) { machine().count = std::clamp(count, 1, kMaxDevices); }

void set_peer_access(bool possible) { machine().peers_possible = possible; }
bool peer_access_possible() { return machine().peers_possible; }

void set_memory_limit(int index, std::size_t bytes) {
  if (index >= 0 && index < kMaxDevices) device(index).memory_limit = bytes;
}

void set_compute_capability(int index, int major, int minor) {
  if (index < 0 || index >= kMaxDevices) return;
  device(index).major = major;
  device(index).minor = minor;
}

void poison_device(int index, cudaError_t error) {
  if (index >= 0 && index < kMaxDevices) device(index).sticky_error = error;
}

}  // namespace komt::emulator

using namespace komt::emulator;

namespace {

bool is_device(int index) { return index >= 0 && index < device_count(); }

}  // namespace

cudaError_t cudaGetDeviceCount(int* count) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  *count = device_count();
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int index) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  if (!is_device(index)) return remember(cudaErrorInvalidDevice);
  set_current_device_index(index);
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* index) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  *index = current_device_index();
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int index) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  if (!is_device(index)) return remember(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof(properties->name), "komt CUDA emulator %d", index);
  properties->totalGlobalMem = device(index).memory_limit;
  properties->sharedMemPerBlock = kDefaultBlockShared;
  properties->regsPerBlock = 65536;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  const int block[3] = {1024, 1024, 64};
  const int grid[3] = {2147483647, 65535, 65535};
  std::memcpy(properties->maxThreadsDim, block, sizeof(block));
  std::memcpy(properties->maxGridSize, grid, sizeof(grid));
  properties->totalConstMem = 65536;
  properties->major = device(index).major;
  properties->minor = device(index).minor;
  properties->multiProcessorCount = kMultiprocessors;
  properties->l2CacheSize = kL2Bytes;
  properties->maxThreadsPerMultiProcessor = kThreadsPerMultiprocessor;
  properties->sharedMemPerMultiprocessor = kSharedPerMultiprocessor;
  properties->sharedMemPerBlockOptin = kMaxBlockShared;
  properties->pciBusID = index;
  properties->unifiedAddressing = 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int index) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  if (!is_device(index)) return remember(cudaErrorInvalidDevice);
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = 1024; return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(kDefaultBlockShared);
      return cudaSuccess;
    case cudaDevAttrWarpSize: *value = 32; return cudaSuccess;
    case cudaDevAttrMultiProcessorCount: *value = kMultiprocessors; return cudaSuccess;
    case cudaDevAttrL2CacheSize: *value = kL2Bytes; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor: *value = device(index).major; return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor: *value = device(index).minor; return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(kSharedPerMultiprocessor);
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(kMaxBlockShared);
      return cudaSuccess;
  }
  return remember(cudaErrorInvalidValue);
}

cudaError_t cudaDeviceReset() {
  const int index = current_device_index();
  discard_work(index);
  device(index).memory.free_all();
  device(index).sticky_error = cudaSuccess;
  device(index).reported = false;
  device(index).peers = 0;
  last_error = cudaSuccess;
  return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int* can_access, int index, int peer) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  if (!is_device(index) || !is_device(peer)) return remember(cudaErrorInvalidDevice);
  *can_access = index != peer && peer_access_possible();
  return cudaSuccess;
}

cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  if (flags != 0) return remember(cudaErrorInvalidValue);
  if (!is_device(peer) || peer == current_device_index()) return remember(cudaErrorInvalidDevice);
  if (!peer_access_possible()) return remember(cudaErrorPeerAccessUnsupported);
  const std::uint32_t bit = 1u << peer;
  if (device(current_device_index()).peers.fetch_or(bit) & bit) {
    return remember(cudaErrorPeerAccessAlreadyEnabled);
  }
  return cudaSuccess;
}

cudaError_t cudaDeviceDisablePeerAccess(int peer) {
  if (!is_device(peer)) return remember(cudaErrorInvalidDevice);
  const std::uint32_t bit = 1u << peer;
  if ((device(current_device_index()).peers.fetch_and(~bit) & bit) == 0) {
    return remember(cudaErrorPeerAccessNotEnabled);
  }
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaGetLastError() {
  const cudaError_t sticky = device_error(current_device_index());
  const cudaError_t error = sticky != cudaSuccess ? sticky : last_error;
  last_error = cudaSuccess;
  return error;
}
