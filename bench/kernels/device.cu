#include "device.h"

#include "common/dispatch.cuh"
#include "common/launch.cuh"
#include "ptx/load.cuh"
#include "ptx/mma.cuh"

namespace komt::bench {

namespace {

constexpr int kThreads = 256;
constexpr int kLoads = 8;

__global__ void __launch_bounds__(kThreads)
    read_stream_kernel(const uint4* data, std::size_t count, unsigned* sink) {
  unsigned any = 0;
  const std::size_t step = std::size_t(gridDim.x) * kThreads * kLoads;
  for (std::size_t first = std::size_t(blockIdx.x) * kThreads * kLoads + threadIdx.x; first < count;
       first += step) {
    uint4 v[kLoads];
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const std::size_t at = first + std::size_t(i) * kThreads;
      v[i] = ptx::load_global_no_allocate(data + (at < count ? at : first));
    }
#pragma unroll
    for (int i = 0; i < kLoads; ++i) any |= v[i].x | v[i].y | v[i].z | v[i].w;
  }
  if (any == 0) *sink = any;
}

__global__ void __launch_bounds__(kThreads) mma_kernel(int rounds, float* sink) {
  const std::uint32_t a[4] = {0x3c003c00u + threadIdx.x, 0x3c003800u, 0x38003c00u, 0x3c003c00u};
  const std::uint32_t b[2] = {0x2c002c00u + threadIdx.x, 0x2c002800u};
  float d[8][4] = {};
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < 8; ++i) ptx::mma_m16n8k16_f16(d[i], a, b);
  }
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) sum += d[i][0] + d[i][1] + d[i][2] + d[i][3];
  if (sum == -1.0f) *sink = sum;
}

__device__ std::uint32_t mixed(std::uint64_t x) {
  // splitmix64's finaliser.
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return static_cast<std::uint32_t>(x >> 32);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    fill_normal_kernel(T* data, std::size_t count, float deviation) {
  const std::size_t step = std::size_t(gridDim.x) * kThreads;
  for (std::size_t i = std::size_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += step) {
    const float u = (static_cast<float>(mixed(2 * i) >> 8) + 0.5f) * 0x1p-24f;
    const float v = static_cast<float>(mixed(2 * i + 1) >> 8) * 0x1p-24f;
    data[i] = from_float<T>(deviation * sqrtf(-2.0f * logf(u)) * cosf(6.2831853f * v));
  }
}

}  // namespace

cudaError_t read_stream(const void* data, std::size_t bytes, int blocks, unsigned* sink,
                        cudaStream_t stream) {
  const LaunchConfig config{.grid = dim3(blocks), .block = dim3(kThreads), .stream = stream};
  return launch(read_stream_kernel, config, static_cast<const uint4*>(data), bytes / 16, sink);
}

cudaError_t mma_from_registers(int rounds, int blocks, float* sink, cudaStream_t stream) {
  const LaunchConfig config{.grid = dim3(blocks), .block = dim3(kThreads), .stream = stream};
  return launch(mma_kernel, config, rounds, sink);
}

cudaError_t fill_normal(void* data, std::size_t count, float deviation, kernels::ElementType type,
                        cudaStream_t stream) {
  const LaunchConfig config{.grid = dim3(2048), .block = dim3(kThreads), .stream = stream};
  return kernels::dispatch_float(type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return launch(fill_normal_kernel<T>, config, static_cast<T*>(data), count, deviation);
  });
}

}  // namespace komt::bench
