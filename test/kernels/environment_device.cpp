#include <cuda_runtime_api.h>

#include "environment.h"

namespace komt::test::environment {

std::string name() {
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess) return "unknown device";
  return properties.name;
}

std::string why_unavailable() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess && count > 0) return "";
  cudaGetLastError();
  return std::string("no CUDA device (") + cudaGetErrorString(error) + ")";
}

int default_seeds() { return 1; }
void begin_schedule(std::uint64_t) {}
bool checks_every_access() { return false; }
bool fresh_memory_is_nan() { return false; }
bool full_size() { return true; }
std::vector<std::string> take_findings() { return {}; }
std::string summary_fields() { return ""; }

}  // namespace komt::test::environment
