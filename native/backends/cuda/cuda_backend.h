#pragma once
// The backend that runs on an NVIDIA GPU, or, compiled against cuda/emulator, on an emulated one.
#include <memory>
#include <vector>

#include "backends/registry.h"
#include "engine/backend.h"

namespace komt {

#ifdef KOMT_CUDA_EMULATED
inline constexpr const char* kCudaDeviceKind = "cuda-emulated";
#else
inline constexpr const char* kCudaDeviceKind = "cuda";
#endif

/// Devices the driver offers; none where there is no driver.
std::vector<DeviceInfo> cuda_device_infos();

/// A backend on one device. Weights and activations are float16 or bfloat16 (`dtype`), products
/// accumulate and the residual stream stays in float32; the cache has the type of the activations.
/// Work is enqueued on one stream and runs behind the caller. One thread at a time may call it, the
/// writers of weights excepted.
///
/// Throws `device` when there is no such device, invalid_argument for float32.
std::unique_ptr<Backend> create_cuda_backend(int device, DType dtype);

}  // namespace komt
