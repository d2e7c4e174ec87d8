#include "backends/registry.h"

#include <charconv>
#include <system_error>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/cpu_info.h"
#include "engine/error.h"

#ifdef KOMT_WITH_CUDA
#include "backends/cuda/cuda_backend.h"
#endif

namespace komt {

namespace {

DeviceInfo cpu_device_info() {
  const MemoryInfo memory = cpu::host_memory();
  DeviceInfo info;
  info.name = "cpu";
  info.description = std::to_string(cpu::usable_cores()) + " cores";
  info.memory_total = memory.total;
  info.memory_free = memory.free;
  if (cpu::has_avx2()) info.features.push_back("avx2");
  if (cpu::has_avx512()) info.features.push_back("avx512");
  return info;
}

}  // namespace

std::vector<std::string> built_backends() {
  std::vector<std::string> kinds = {"cpu"};
#ifdef KOMT_WITH_CUDA
  kinds.push_back(kCudaDeviceKind);
#endif
  return kinds;
}

std::vector<DeviceInfo> list_devices() {
  std::vector<DeviceInfo> devices = {cpu_device_info()};
#ifdef KOMT_WITH_CUDA
  for (DeviceInfo& device : cuda_device_infos()) devices.push_back(std::move(device));
#endif
  return devices;
}

std::unique_ptr<Backend> create_backend(const std::string& device, const BackendOptions& options) {
  if (device == "cpu") {
    CpuOptions cpu;
    cpu.threads = options.threads;
    return create_cpu_backend(cpu);
  }
#ifdef KOMT_WITH_CUDA
  const std::string prefix = std::string(kCudaDeviceKind) + ":";
  if (device.starts_with(prefix)) {
    int index = -1;
    const char* end = device.data() + device.size();
    const auto [read, error] = std::from_chars(device.data() + prefix.size(), end, index);
    if (error == std::errc() && read == end) return create_cuda_backend(index, options.dtype);
  }
#endif
  std::string known;
  for (const DeviceInfo& info : list_devices()) known += (known.empty() ? "" : ", ") + info.name;
  throw Error(ErrorKind::device, "There is no device " + device + ". Devices here: " + known +
                                     ". `komt inspect` says what was built and found");
}

}  // namespace komt
