// Accesses outside allocations, before the first write, to other devices, and by the host.
#include <cmath>

#include "common/launch.cuh"
#include "device_buffer.h"

namespace komt::test {
namespace {

__global__ void __launch_bounds__(32) write_kernel(int* out, int offset) {
  out[static_cast<int>(threadIdx.x) + offset] = static_cast<int>(threadIdx.x);
}

TEST(a_write_behind_a_global_allocation_is_reported) {
  DeviceBuffer<int> out(32);
  EXPECT_OK(launch(write_kernel, {.grid = 1, .block = 32}, out.get(), 0));
  EXPECT_EQ(out.download()[31], 31);
  EXPECT_OK(launch(write_kernel, {.grid = 1, .block = 32}, out.get(), 1));
  EXPECT_REPORT(kOutOfBounds, "");
}

template <bool kBug>
__global__ void __launch_bounds__(32) shared_write_kernel(int* out) {
  KOMT_SHARED(int, values, [32]);
  KOMT_SHARED(int, others, [32]);
  others[threadIdx.x] = 0;
  values[threadIdx.x + (kBug ? 1 : 0)] = 5;
  __syncthreads();
  out[threadIdx.x] = others[threadIdx.x];
}

TEST(a_write_behind_static_shared_memory_is_reported) {
  DeviceBuffer<int> out(32);
  EXPECT_OK(launch(shared_write_kernel<false>, {.grid = 1, .block = 32}, out.get()));
  EXPECT_OK(cudaDeviceSynchronize());
  EXPECT_OK(launch(shared_write_kernel<true>, {.grid = 1, .block = 32}, out.get()));
  EXPECT_REPORT(kOutOfBounds, "");
}

__global__ void __launch_bounds__(32) dynamic_write_kernel(int* out) {
  KOMT_DYN_SHARED(raw);
  int* values = reinterpret_cast<int*>(raw);
  values[threadIdx.x] = 5;
  __syncthreads();
  out[threadIdx.x] = values[31 - threadIdx.x];
}

TEST(a_write_behind_dynamic_shared_memory_is_reported) {
  DeviceBuffer<int> out(32);
  EXPECT_OK(launch(dynamic_write_kernel,
                   {.grid = 1, .block = 32, .dynamic_shared_bytes = 32 * sizeof(int)}, out.get()));
  EXPECT_OK(cudaDeviceSynchronize());
  EXPECT_OK(launch(dynamic_write_kernel,
                   {.grid = 1, .block = 32, .dynamic_shared_bytes = 31 * sizeof(int)}, out.get()));
  EXPECT_REPORT(kOutOfBounds, "");
}

template <bool kBug>
__global__ void __launch_bounds__(32) static_and_dynamic_kernel(int* out) {
  KOMT_DYN_SHARED(raw);
  KOMT_SHARED(int, values, [32]);
  values[threadIdx.x] = 7;
  raw[threadIdx.x] = 7;
  __syncthreads();
  out[threadIdx.x] = values[31 - threadIdx.x] + raw[31 - threadIdx.x];
}

cudaError_t launch_without_opt_in(void (*kernel)(int*), std::size_t dynamic_bytes, int* out) {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(1);
  config.blockDim = dim3(32);
  config.dynamicSmemBytes = dynamic_bytes;
  return cudaLaunchKernelEx(&config, kernel, out);
}

// 128 bytes of static memory count as 1,024 in front of dynamic memory of that alignment.
TEST(static_and_dynamic_shared_memory_have_one_limit) {
  constexpr std::size_t kLimit = 48 * 1024;
  DeviceBuffer<int> out(32);
  EXPECT_OK(launch_without_opt_in(static_and_dynamic_kernel<true>, kLimit - 1024, out.get()));
  EXPECT_EQ(out.download()[5], 14);
  EXPECT_OK(launch_without_opt_in(static_and_dynamic_kernel<true>, kLimit, out.get()));
  EXPECT_REPORT(kMisuse, "device refuses");
  EXPECT_OK(launch_without_opt_in(static_and_dynamic_kernel<true>, kLimit - 1008, out.get()));
  EXPECT_REPORT(kMisuse, "device refuses");
  EXPECT_OK(launch(static_and_dynamic_kernel<false>,
                   {.grid = 1, .block = 32, .dynamic_shared_bytes = kLimit}, out.get()));
  EXPECT_EQ(out.download()[5], 14);
}

__global__ void __launch_bounds__(32) read_kernel(const float* in, float* out, int offset) {
  out[threadIdx.x] = in[static_cast<int>(threadIdx.x) + offset];
}

TEST(a_read_behind_an_allocation_is_nan_or_reported) {
  DeviceBuffer<float> in(std::vector<float>(32, 1.0f));
  DeviceBuffer<float> out(32);
  EXPECT_OK(launch(read_kernel, {.grid = 1, .block = 32}, in.get(), out.get(), 0));
  EXPECT_EQ(out.download()[31], 1.0f);
  EXPECT_OK(launch(read_kernel, {.grid = 1, .block = 32}, in.get(), out.get(), 1));
  if (mode() == Mode::kFast) {
    EXPECT(std::isnan(out.download()[31]));
  } else {
    EXPECT_REPORT(kOutOfBounds, "memory_bugs_test.cu");
  }
}

TEST(fresh_global_memory_is_nan_and_reading_it_reported) {
  DeviceBuffer<float> in(64);
  DeviceBuffer<float> out(32);
  EXPECT_OK(cudaMemset(in.get(), 0, 32 * sizeof(float)));
  EXPECT_OK(launch(read_kernel, {.grid = 1, .block = 32}, in.get(), out.get(), 0));
  EXPECT_EQ(out.download()[31], 0.0f);
  EXPECT_OK(launch(read_kernel, {.grid = 1, .block = 32}, in.get(), out.get(), 1));
  if (mode() == Mode::kRace) EXPECT_REPORT(kUninitialised, "global");
  EXPECT(std::isnan(out.download()[31]));
}

template <bool kBug>
__global__ void __launch_bounds__(32) fresh_shared_kernel(float* out) {
  KOMT_SHARED(float, values, [32]);
  if (!kBug || threadIdx.x != 9) values[threadIdx.x] = 1.0f;
  __syncthreads();
  out[threadIdx.x] = values[31 - threadIdx.x];
}

TEST(fresh_shared_memory_is_nan_and_reading_it_reported) {
  DeviceBuffer<float> out(32);
  EXPECT_OK(launch(fresh_shared_kernel<false>, {.grid = 1, .block = 32}, out.get()));
  EXPECT_OK(cudaDeviceSynchronize());
  EXPECT_OK(launch(fresh_shared_kernel<true>, {.grid = 1, .block = 32}, out.get()));
  if (mode() == Mode::kRace) EXPECT_REPORT(kUninitialised, "shared");
  EXPECT(std::isnan(out.download()[22]));
}

TEST(a_wild_pointer_ends_the_launch) {
  DeviceBuffer<float> out(32);
  const float* wild = out.get() + (std::size_t{1} << 40);
  EXPECT_OK(launch(read_kernel, {.grid = 1, .block = 32}, wild, out.get(), 0));
  EXPECT_EQ(static_cast<int>(cudaDeviceSynchronize()), static_cast<int>(cudaErrorIllegalAddress));
  EXPECT_REPORT(kOutOfBounds, "");
}

TEST(memory_freed_is_not_memory) {
  float* in = nullptr;
  EXPECT_OK(cudaMalloc(&in, 32 * sizeof(float)));
  EXPECT_OK(cudaMemset(in, 0, 32 * sizeof(float)));
  DeviceBuffer<float> out(32);
  EXPECT_OK(launch(read_kernel, {.grid = 1, .block = 32}, in, out.get(), 0));
  EXPECT_EQ(out.download()[3], 0.0f);
  EXPECT_OK(cudaFree(in));
  EXPECT_OK(launch(read_kernel, {.grid = 1, .block = 32}, in, out.get(), 0));
  if (mode() == Mode::kFast) {
    EXPECT(std::isnan(out.download()[3]));
  } else {
    EXPECT_REPORT(kOutOfBounds, "");
  }
}

TEST(a_copy_beyond_an_allocation_is_reported) {
  DeviceBuffer<int> buffer(32);
  std::vector<int> values(33);
  EXPECT_OK(cudaMemcpy(buffer.get(), values.data(), 32 * 4, cudaMemcpyHostToDevice));
  cudaMemcpy(buffer.get(), values.data(), 33 * 4, cudaMemcpyHostToDevice);
  EXPECT_REPORT(kOutOfBounds, "a copy to");
}

TEST(a_host_access_to_device_memory_is_reported) {
  DeviceBuffer<int> buffer(std::vector<int>{7});
  EXPECT_EQ(buffer.download()[0], 7);
  const volatile int* p = buffer.get();
  EXPECT_EQ(*p, 7);
  EXPECT_REPORT(kHostAccess, "touches memory of device 0");
}

TEST(a_host_access_to_a_pinned_buffer_in_flight_is_reported) {
  DeviceBuffer<int> buffer(std::vector<int>{7, 8});
  int* pinned = nullptr;
  EXPECT_OK(cudaMallocHost(&pinned, 4 * sizeof(int)));
  cudaStream_t stream = nullptr;
  EXPECT_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  pinned[2] = 1;
  EXPECT_OK(cudaMemcpyAsync(pinned, buffer.get(), 8, cudaMemcpyDeviceToHost, stream));
  EXPECT_EQ(static_cast<volatile int*>(pinned)[2], 1);  // beside the copy's target: legal
  EXPECT_OK(cudaStreamSynchronize(stream));
  EXPECT_EQ(pinned[1], 8);
  emulator::set_seed(0);  // under a seed the copy may have ended before the host comes
  EXPECT_OK(cudaMemcpyAsync(pinned, buffer.get(), 8, cudaMemcpyDeviceToHost, stream));
  static_cast<void>(static_cast<volatile int*>(pinned)[1]);
  EXPECT_REPORT(kHostAccess, "in flight");
  EXPECT_OK(cudaMemcpyAsync(buffer.get(), pinned, 8, cudaMemcpyHostToDevice, stream));
  static_cast<volatile int*>(pinned)[0] = 3;
  EXPECT_REPORT(kHostAccess, "in flight");
  EXPECT_OK(cudaStreamDestroy(stream));
  EXPECT_OK(cudaFreeHost(pinned));
}

TEST(another_devices_memory_wants_peer_access) {
  emulator::set_device_count(2);
  DeviceBuffer<float> in(std::vector<float>(32, 2.0f));
  EXPECT_OK(cudaSetDevice(1));
  {
    DeviceBuffer<float> out(32);
    EXPECT_OK(cudaDeviceEnablePeerAccess(0, 0));
    EXPECT_OK(launch(read_kernel, {.grid = 1, .block = 32}, in.get(), out.get(), 0));
    EXPECT_EQ(out.download()[4], 2.0f);
    EXPECT_OK(cudaDeviceDisablePeerAccess(0));
    EXPECT_OK(launch(read_kernel, {.grid = 1, .block = 32}, in.get(), out.get(), 0));
    EXPECT_REPORT(kOutOfBounds, "another device's memory");
  }
  EXPECT_OK(cudaSetDevice(0));
  emulator::set_device_count(1);
}

}  // namespace
}  // namespace komt::test
