// Launches, and what may be asked and set about kernels.
#include <algorithm>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "emulator/runtime/device.h"
#include "emulator/runtime/settings.h"
#include "emulator/runtime/shared_memory.h"
#include "emulator/runtime/stream.h"

namespace komt::emulator {

namespace {

struct SharedLimits {
  std::mutex mutex;
  std::unordered_map<const void*, std::size_t> opted_in;
};

SharedLimits& shared_limits() {
  static auto* limits = new SharedLimits;
  return *limits;
}

struct SharedLimit {
  std::size_t dynamic;
  std::size_t total;  // with the static arrays, known only to the blocks that run
};

SharedLimit shared_limit(const void* kernel) {
  SharedLimits& limits = shared_limits();
  const std::lock_guard lock(limits.mutex);
  const auto found = limits.opted_in.find(kernel);
  if (found == limits.opted_in.end()) return {kDefaultBlockShared, kDefaultBlockShared};
  return {found->second, kMaxBlockShared};
}

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
  StreamLock lock;
  const StreamPointer stream = lock.find(config.stream);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  if (const auto sticky = static_cast<cudaError_t>(device(stream->device).sticky_error.load())) {
    return sticky;
  }
  if (!is_valid_shape(config.gridDim, config.blockDim)) {
    return remember(cudaErrorInvalidConfiguration);
  }
  const SharedLimit limit = shared_limit(kernel);
  if (config.dynamicSmemBytes > limit.dynamic) return remember(cudaErrorInvalidValue);
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
  launch.shared_limit = limit.total;
  launch.device = stream->device;
  launch.programmatic = programmatic;
  launch.sequence = ++settings().launches;
  launch.id = ++settings().launch_ids;
  operation.kernel.set_arguments(arguments, argument_bytes);
  return remember(lock.enqueue(stream, std::move(operation)));
}

}  // namespace komt::emulator

using namespace komt::emulator;

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
    if (value < 0 || static_cast<std::size_t>(value) > kMaxBlockShared) {
      return remember(cudaErrorInvalidValue);
    }
    SharedLimits& limits = shared_limits();
    const std::lock_guard lock(limits.mutex);
    limits.opted_in[kernel] = static_cast<std::size_t>(value);
  }
  return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* kernel) {
  *attributes = {};
  attributes->maxThreadsPerBlock = static_cast<int>(kMaxThreads);
  attributes->ptxVersion = 90;
  attributes->maxDynamicSharedSizeBytes = static_cast<int>(shared_limit(kernel).dynamic);
  return cudaSuccess;
}
