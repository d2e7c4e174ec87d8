// What launch() sets of a kernel and asks about it: once for each device, from any thread.
#include <atomic>
#include <thread>
#include <vector>

#include "common/launch.cuh"
#include "device_buffer.h"

namespace komt::test {
namespace {

constexpr std::size_t kMuchShared = 100 * 1024;

// Instances are kernels of their own, so that each test has one that was never launched.
template <int kInstance>
__global__ void __launch_bounds__(32) much_shared_kernel(int* out) {
  KOMT_DYN_SHARED(raw);
  int* const last = reinterpret_cast<int*>(raw + kMuchShared) - 32;
  last[threadIdx.x] = static_cast<int>(threadIdx.x) + kInstance;
  __syncthreads();
  out[threadIdx.x] = last[31 - threadIdx.x];
}

template <int kInstance>
int carveout() {
  cudaFuncAttributes attributes{};
  EXPECT_OK(cudaFuncGetAttributes(&attributes,
                                  reinterpret_cast<const void*>(&much_shared_kernel<kInstance>)));
  return attributes.preferredShmemCarveout;
}

template <int kInstance>
cudaError_t launch_much_shared(int* out, cudaStream_t stream = nullptr) {
  return launch(much_shared_kernel<kInstance>,
                {.grid = 1, .block = 32, .dynamic_shared_bytes = kMuchShared, .stream = stream},
                out);
}

TEST(a_kernel_is_prepared_at_its_first_launch_on_a_device) {
  emulator::set_device_count(2);
  for (const int device : {0, 1, 0}) {
    EXPECT_OK(cudaSetDevice(device));
    DeviceBuffer<int> out(32);
    EXPECT_OK(launch_much_shared<1>(out.get()));
    EXPECT_EQ(out.download()[0], 32);
    const std::uint64_t asked = emulator::kernel_attribute_queries();
    for (int i = 0; i < 5; ++i) EXPECT_OK(launch_much_shared<1>(out.get()));
    EXPECT_EQ(emulator::kernel_attribute_queries(), asked);
    EXPECT_OK(cudaDeviceSynchronize());
    EXPECT_EQ(carveout<1>(), int(cudaSharedmemCarveoutMaxShared));
  }
  EXPECT_OK(cudaSetDevice(0));
  emulator::set_device_count(1);
}

TEST(threads_prepare_a_kernel_together) {
  std::atomic<int> failures{0};
  const std::uint64_t asked = emulator::kernel_attribute_queries();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      cudaStream_t stream = nullptr;
      int* out = nullptr;
      failures += cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) != cudaSuccess;
      failures += cudaMalloc(&out, 32 * sizeof(int)) != cudaSuccess;
      for (int k = 0; k < 3; ++k) failures += launch_much_shared<2>(out, stream) != cudaSuccess;
      failures += cudaStreamSynchronize(stream) != cudaSuccess;
      failures += cudaFree(out) != cudaSuccess || cudaStreamDestroy(stream) != cudaSuccess;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures.load(), 0);
  EXPECT(emulator::kernel_attribute_queries() - asked <= 1);
}

TEST(a_kernel_that_cannot_be_prepared_is_asked_about_again) {
  emulator::set_device_count(2);
  EXPECT_OK(cudaSetDevice(1));
  {
    DeviceBuffer<int> out(32);
    emulator::poison_device(1, cudaErrorIllegalAddress);
    EXPECT_EQ(int(launch_much_shared<3>(out.get())), int(cudaErrorIllegalAddress));
    emulator::poison_device(1, cudaSuccess);
    EXPECT_OK(launch_much_shared<3>(out.get()));
    EXPECT_EQ(out.download()[0], 34);
    EXPECT_OK(cudaDeviceSynchronize());
  }
  EXPECT_OK(cudaSetDevice(0));
  emulator::set_device_count(1);
}

TEST(the_environment_changes_what_benchmarks_compare) {
  EXPECT(read_launch_settings(nullptr, nullptr).dependent_launch);
  EXPECT(read_launch_settings("1", nullptr).dependent_launch);
  EXPECT(!read_launch_settings("0", nullptr).dependent_launch);
  EXPECT_EQ(read_launch_settings(nullptr, nullptr).shared_carveout, 100);
  EXPECT_EQ(read_launch_settings(nullptr, "-1").shared_carveout, -1);
  EXPECT_EQ(read_launch_settings(nullptr, "50").shared_carveout, 50);
  EXPECT_EQ(read_launch_settings(nullptr, "1000").shared_carveout, 100);
  EXPECT_EQ(read_launch_settings(nullptr, "-7").shared_carveout, -1);
}

TEST(peers_reach_each_other_where_the_machine_can) {
  emulator::set_device_count(2);
  int possible = 0;
  emulator::set_peer_access(false);
  EXPECT_OK(cudaDeviceCanAccessPeer(&possible, 0, 1));
  EXPECT_EQ(possible, 0);
  EXPECT_EQ(int(cudaDeviceEnablePeerAccess(1, 0)), int(cudaErrorPeerAccessUnsupported));
  emulator::set_peer_access(true);
  EXPECT_OK(cudaDeviceCanAccessPeer(&possible, 0, 1));
  EXPECT_EQ(possible, 1);
  EXPECT_OK(cudaDeviceEnablePeerAccess(1, 0));
  EXPECT_EQ(int(cudaDeviceEnablePeerAccess(1, 0)), int(cudaErrorPeerAccessAlreadyEnabled));
  EXPECT_OK(cudaDeviceDisablePeerAccess(1));
  emulator::set_device_count(1);
  cudaGetLastError();
}

}  // namespace
}  // namespace komt::test
