// Launches, and what may be asked and set about kernels.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "emulator/control.h"
#include "emulator/runtime/device.h"
#include "emulator/runtime/settings.h"
#include "emulator/runtime/shared_memory.h"
#include "emulator/runtime/stream.h"

namespace komt::emulator {

namespace {

// What was set of a kernel on one device; another device knows nothing of it.
struct KernelSettings {
  std::size_t dynamic_shared = kDefaultBlockShared;
  std::size_t total_shared =
      kDefaultBlockShared;  // with the static arrays, known only to its blocks
  int carveout = cudaSharedmemCarveoutDefault;
};

class KernelTable {
 public:
  KernelSettings get(const void* kernel, int device) {
    const std::lock_guard lock(mutex_);
    const auto found = kernels_.find({kernel, device});
    return found == kernels_.end() ? KernelSettings{} : found->second;
  }
  template <class F>
  void change(const void* kernel, int device, F&& change) {
    const std::lock_guard lock(mutex_);
    change(kernels_[{kernel, device}]);
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<const void*, int>, KernelSettings> kernels_;
};

KernelTable& kernel_table() {
  static auto* table = new KernelTable;
  return *table;
}

std::atomic<std::uint64_t> attribute_queries{0};

bool is_valid_shape(dim3 grid, dim3 block) {
  const bool grid_ok = grid.x > 0 && grid.x <= 2147483647u && grid.y > 0 && grid.y <= 65535 &&
                       grid.z > 0 && grid.z <= 65535;
  const bool block_ok = block.x > 0 && block.x <= 1024 && block.y > 0 && block.y <= 1024 &&
                        block.z > 0 && block.z <= 64;
  return grid_ok && block_ok &&
         static_cast<std::uint64_t>(block.x) * block.y * block.z <= kMaxThreads;
}

}  // namespace

void KernelWork::set_arguments(const unsigned char* arguments, std::size_t bytes) {
  if (bytes <= kInlineBytes) {
    std::memcpy(inline_arguments, arguments, bytes);
  } else {
    more_arguments.assign(arguments, arguments + bytes);
  }
}

cudaError_t enqueue_kernel(const cudaLaunchConfig_t& config, const void* kernel, KernelEntry entry,
                           const unsigned char* arguments, std::size_t argument_bytes) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  StreamLock lock;
  const StreamPointer stream = lock.find(config.stream);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  if (const auto sticky = static_cast<cudaError_t>(device(stream->device).sticky_error.load())) {
    return sticky;
  }
  if (!is_valid_shape(config.gridDim, config.blockDim)) {
    return remember(cudaErrorInvalidConfiguration);
  }
  const KernelSettings kernel_settings = kernel_table().get(kernel, stream->device);
  if (config.dynamicSmemBytes > kernel_settings.dynamic_shared)
    return remember(cudaErrorInvalidValue);
  if (argument_bytes > 4096) return remember(cudaErrorInvalidValue);
  bool programmatic = false;
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    if (config.attrs[i].id == cudaLaunchAttributeProgrammaticStreamSerialization) {
      programmatic = config.attrs[i].val.programmaticStreamSerializationAllowed != 0;
    }
  }
  if (programmatic && device(stream->device).major < 9) return remember(cudaErrorNotSupported);
  Operation operation(Operation::Kind::kKernel, stream->device);
  KernelLaunch& launch = operation.kernel.launch;
  launch.kernel = kernel;
  launch.entry = entry;
  launch.grid = config.gridDim;
  launch.block = config.blockDim;
  launch.dynamic_shared_bytes = config.dynamicSmemBytes;
  launch.shared_limit = kernel_settings.total_shared;
  launch.device = stream->device;
  launch.programmatic = programmatic;
  launch.sequence = ++settings().launches;
  launch.id = ++settings().launch_ids;
  operation.kernel.set_arguments(arguments, argument_bytes);
  return remember(lock.enqueue(stream, std::move(operation)));
}

std::uint64_t kernel_attribute_queries() { return attribute_queries; }

}  // namespace komt::emulator

using namespace komt::emulator;

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  const int device = current_device_index();
  if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
    if (value < 0 || static_cast<std::size_t>(value) > kMaxBlockShared) {
      return remember(cudaErrorInvalidValue);
    }
    kernel_table().change(kernel, device, [&](KernelSettings& settings) {
      settings.dynamic_shared = static_cast<std::size_t>(value);
      settings.total_shared = kMaxBlockShared;
    });
  }
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) {
    if (value < cudaSharedmemCarveoutDefault || value > cudaSharedmemCarveoutMaxShared) {
      return remember(cudaErrorInvalidValue);
    }
    kernel_table().change(kernel, device,
                          [&](KernelSettings& settings) { settings.carveout = value; });
  }
  return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  if (const cudaError_t fault = injected_fault()) return remember(fault);
  ++attribute_queries;
  const KernelSettings settings = kernel_table().get(kernel, current_device_index());
  *attributes = {};
  attributes->maxThreadsPerBlock = static_cast<int>(kMaxThreads);
  attributes->ptxVersion = 90;
  attributes->numRegs = 255;
  attributes->maxDynamicSharedSizeBytes = static_cast<int>(settings.dynamic_shared);
  attributes->preferredShmemCarveout = settings.carveout;
  return cudaSuccess;
}
