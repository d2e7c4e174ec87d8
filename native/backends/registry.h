#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/backend.h"

namespace komt {

struct BackendOptions {
  int threads = 0;  ///< CPU threads; 0 = one per available core
  DType dtype = DType::f32;  ///< type of the model's matrices
};

struct DeviceInfo {
  std::string name;         ///< "cpu", "cuda:0", ...
  std::string description;  ///< the hardware's own name
  uint64_t memory_total = 0;
  uint64_t memory_free = 0;
  std::vector<std::string> features;  ///< instruction sets or compute capability
};

/// Kinds of backend that were compiled in: "cpu" always, "cuda" or "cuda-emulated".
std::vector<std::string> built_backends();

/// Devices that can be used now. Never throws for a missing driver: such devices are just not listed.
std::vector<DeviceInfo> list_devices();

/// Throws `device` naming what there is when `device` is unknown or absent.
std::unique_ptr<Backend> create_backend(const std::string& device, const BackendOptions& options);

}  // namespace komt
