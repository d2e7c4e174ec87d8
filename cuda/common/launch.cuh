// How every kernel of the library is launched: one typed function over cudaLaunchKernelEx.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "common/platform.cuh"

namespace komt {

struct LaunchConfig {
  dim3 grid;
  dim3 block;
  std::size_t dynamic_shared_bytes = 0;
  cudaStream_t stream = nullptr;
  // The kernel may start while its predecessor in the stream still runs, and must call
  // ptx::grid_dependency_wait() in every block before it touches anything an earlier kernel writes
  // or reads. Ignored on devices before sm_90, where that call is a no-op and the order is strict.
  bool programmatic_dependent_launch = false;
};

// An attribute of the current device.
inline cudaError_t device_attribute(int* value, cudaDeviceAttr attribute) {
  int device = 0;
  if (cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return error;
  return cudaDeviceGetAttribute(value, attribute, device);
}

// What the benchmarks compare; the environment at the first launch decides for the process.
struct LaunchSettings {
  // KOMT_DEPENDENT_LAUNCH=0: a kernel starts when its predecessor has ended.
  bool dependent_launch = true;
  // KOMT_SHARED_CARVEOUT: percent of an SM's L1 that kernels ask to have as shared memory, 0 to 100;
  // -1 leaves it to the driver. All of it unless told otherwise: an SM changes the division only when
  // it runs nothing, and kernels that ask for different ones would drain it between each other.
  int shared_carveout = cudaSharedmemCarveoutMaxShared;
};

// Of the two variables' texts, null where they aren't set.
inline LaunchSettings read_launch_settings(const char* dependent_launch, const char* carveout) {
  LaunchSettings settings;
  if (dependent_launch != nullptr) {
    settings.dependent_launch = std::strcmp(dependent_launch, "0") != 0;
  }
  if (carveout != nullptr) {
    const int percent = std::atoi(carveout);
    settings.shared_carveout = percent < -1 ? -1 : percent > 100 ? 100 : percent;
  }
  return settings;
}

inline const LaunchSettings& launch_settings() {
  static const LaunchSettings settings =
      read_launch_settings(std::getenv("KOMT_DEPENDENT_LAUNCH"), std::getenv("KOMT_SHARED_CARVEOUT"));
  return settings;
}

// What is set of a kernel on a device, and asked about the two, before the first launch there.
struct PreparedKernel {
  // It may be launched before its predecessor has ended: the device and the driver know how, and the
  // kernel was compiled to wait. One compiled on the spot from older PTX has no wait in it.
  bool may_overlap = false;
  int registers = 0;  // a thread's
};

inline cudaError_t prepare_kernel(const void* kernel, int device, PreparedKernel* prepared) {
  cudaFuncAttributes attributes{};
  int most_shared = 0;
  int major = 0;
  int driver = 0;
  cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&most_shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  }
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  }
  if (error == cudaSuccess) error = cudaDriverGetVersion(&driver);
  // As much dynamic shared memory as the device has beside the static part, whatever this launch needs.
  if (error == cudaSuccess) {
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 most_shared - static_cast<int>(attributes.sharedSizeBytes));
  }
  if (error == cudaSuccess) {
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                 launch_settings().shared_carveout);
  }
  // Before 12.3 such a launch can't be captured into a graph.
  prepared->may_overlap = launch_settings().dependent_launch && major >= 9 && driver >= 12030 &&
                          attributes.ptxVersion >= 90;
  prepared->registers = attributes.numRegs;
  return error;
}

// Prepares a kernel for the current device the first time it is asked about the two. Any thread may
// call. cudaDeviceReset() takes back what was set, and is nothing for a process that launches kernels.
// A table of lists that only grow, so that a launch takes no lock; two threads that prepare the same kernel
// at once find the same. The host side of kernels does without the C++ library's compiled parts: published
// addons link another one.
inline cudaError_t prepared_kernel(const void* kernel, PreparedKernel* prepared) {
  int device = 0;  // the runtime knows it without asking the driver
  if (cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return error;
  struct Known {
    const void* kernel;
    int device;
    PreparedKernel prepared;
    Known* next;
  };
  constexpr std::size_t kLists = 256;
  static std::atomic<Known*> lists[kLists];
  const std::size_t place = (reinterpret_cast<std::uintptr_t>(kernel) >> 4) + std::size_t(device) * 31;
  std::atomic<Known*>& list = lists[place % kLists];
  Known* const first = list.load(std::memory_order_acquire);
  for (const Known* known = first; known != nullptr; known = known->next) {
    if (known->kernel == kernel && known->device == device) {
      *prepared = known->prepared;
      return cudaSuccess;
    }
  }
  if (cudaError_t error = prepare_kernel(kernel, device, prepared); error != cudaSuccess) return error;
  auto* const known = new (std::nothrow) Known{kernel, device, *prepared, first};
  if (known == nullptr) return cudaErrorMemoryAllocation;
  while (!list.compare_exchange_weak(known->next, known, std::memory_order_acq_rel)) {
  }
  return cudaSuccess;
}

// Launches kernel(args...) and returns what the runtime says of the launch; errors of the execution
// surface at the next synchronisation. Arguments convert to the parameters' types as in a call, and
// parameters are trivially copyable.
//
//   launch(rms_norm_kernel<256>, {.grid = rows, .block = 256, .stream = stream}, x, weight, y, dim)
template <class... Params, class... Args>
cudaError_t launch(void (*kernel)(Params...), const LaunchConfig& config, Args&&... args) {
  static_assert(sizeof...(Params) == sizeof...(Args), "launch: one argument for each parameter");
  PreparedKernel prepared;
  if (cudaError_t error = prepared_kernel(reinterpret_cast<const void*>(kernel), &prepared);
      error != cudaSuccess) {
    return error;
  }
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t launch_config{};
  launch_config.gridDim = config.grid;
  launch_config.blockDim = config.block;
  launch_config.dynamicSmemBytes = config.dynamic_shared_bytes;
  launch_config.stream = config.stream;
  launch_config.attrs = &attribute;
  launch_config.numAttrs = config.programmatic_dependent_launch && prepared.may_overlap ? 1 : 0;
  return cudaLaunchKernelEx(&launch_config, kernel,
                            static_cast<Params>(std::forward<Args>(args))...);
}

}  // namespace komt
