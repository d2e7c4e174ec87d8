// How every kernel of the library is launched: one typed function over cudaLaunchKernelEx.
#pragma once

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

// launch() opts in to dynamic shared memory above this. A kernel may use 48 KB without asking, but of
// static and dynamic memory together (CUDA C++ Programming Guide, "Shared Memory" of each compute
// capability), and the static part isn't known here: 16 KB are left for it. Asking for less than the
// default is allowed.
inline constexpr std::size_t kUnaskedDynamicShared = 32 * 1024;

// An attribute of the current device.
inline cudaError_t device_attribute(int* value, cudaDeviceAttr attribute) {
  int device = 0;
  if (cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return error;
  return cudaDeviceGetAttribute(value, attribute, device);
}

// Lets a kernel have as much dynamic shared memory as the device has beside its static part. Always the
// same amount: what one thread sets for its launch must not fall below what another one needs.
inline cudaError_t allow_all_shared(const void* kernel, const cudaFuncAttributes& attributes) {
  int most = 0;
  if (cudaError_t error = device_attribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin);
      error != cudaSuccess) {
    return error;
  }
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              most - static_cast<int>(attributes.sharedSizeBytes));
}

// Whether a kernel may be launched before its predecessor has ended: the device and the driver know
// how, and the kernel was compiled to wait. One compiled on the spot from older PTX has no wait in it.
inline cudaError_t may_overlap(const cudaFuncAttributes& attributes, bool* answer) {
  int major = 0;
  int driver = 0;
  if (cudaError_t error = device_attribute(&major, cudaDevAttrComputeCapabilityMajor);
      error != cudaSuccess) {
    return error;
  }
  if (cudaError_t error = cudaDriverGetVersion(&driver); error != cudaSuccess) return error;
  // Before 12.3 such a launch can't be captured into a graph.
  *answer = major >= 9 && driver >= 12030 && attributes.ptxVersion >= 90;
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
  const void* function = reinterpret_cast<const void*>(kernel);
  const bool much_shared = config.dynamic_shared_bytes > kUnaskedDynamicShared;
  bool overlap = config.programmatic_dependent_launch;
  cudaFuncAttributes attributes{};
  if (much_shared || overlap) {
    const cudaError_t error = cudaFuncGetAttributes(&attributes, function);
    if (error != cudaSuccess) return error;
  }
  if (much_shared) {
    const cudaError_t error = allow_all_shared(function, attributes);
    if (error != cudaSuccess) return error;
  }
  if (overlap) {
    const cudaError_t error = may_overlap(attributes, &overlap);
    if (error != cudaSuccess) return error;
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
  launch_config.numAttrs = overlap ? 1 : 0;
  return cudaLaunchKernelEx(&launch_config, kernel,
                            static_cast<Params>(std::forward<Args>(args))...);
}

}  // namespace komt
