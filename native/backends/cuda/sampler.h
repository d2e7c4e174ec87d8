#pragma once
#include <memory>
#include <vector>

#include "backends/cuda/staging.h"

namespace komt::cuda {

/// Carries a sampling call's per-row state to the device and launches the sampling kernels.
class Sampler {
 public:
  void sample(const SampleArgs& args, UploadRing& ring, cudaStream_t stream, int device);

 private:
  std::vector<char> host_;                   ///< per-row arrays, packed as one upload
  std::unique_ptr<DeviceBuffer> state_;      ///< the same on the device
  std::unique_ptr<DeviceBuffer> workspace_;
  std::unique_ptr<DeviceBuffer> tickets_;    ///< zeros between calls
};

}  // namespace komt::cuda
