// Streams, events, copies and devices: what is ordered, and what is not.
#include <thread>

#include "common/launch.cuh"
#include "device_buffer.h"

namespace komt::test {
namespace {

__global__ void __launch_bounds__(32) add_kernel(int* x, int value) { x[threadIdx.x] += value; }
__global__ void __launch_bounds__(32) multiply_kernel(int* x, int value) {
  x[threadIdx.x] *= value;
}

class Stream {
 public:
  explicit Stream(unsigned flags = cudaStreamNonBlocking) {
    EXPECT_OK(cudaStreamCreateWithFlags(&stream_, flags));
  }
  ~Stream() { EXPECT_OK(cudaStreamDestroy(stream_)); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

TEST(a_stream_keeps_its_order) {
  DeviceBuffer<int> x(std::vector<int>(32, 1));
  const Stream stream;
  for (int i = 0; i < 20; ++i) {
    EXPECT_OK(launch(add_kernel, {.grid = 1, .block = 32, .stream = stream}, x.get(), 1));
    EXPECT_OK(launch(multiply_kernel, {.grid = 1, .block = 32, .stream = stream}, x.get(), -1));
  }
  EXPECT_OK(cudaStreamSynchronize(stream));
  EXPECT_EQ(x.download()[0], 1);
}

TEST(work_is_late_until_somebody_waits) {
  emulator::set_seed(0);
  DeviceBuffer<int> x(std::vector<int>(32, 1));
  const Stream stream;
  EXPECT_OK(launch(add_kernel, {.grid = 1, .block = 32, .stream = stream}, x.get(), 1));
  int value = 0;
  // The default stream isn't ordered with a non-blocking one: a copy without waiting sees old data.
  EXPECT_OK(cudaMemcpy(&value, x.get(), sizeof(int), cudaMemcpyDeviceToHost));
  EXPECT_EQ(value, 1);
  EXPECT_EQ(static_cast<int>(cudaStreamQuery(stream)), static_cast<int>(cudaErrorNotReady));
  EXPECT_EQ(static_cast<int>(cudaStreamQuery(stream)), static_cast<int>(cudaSuccess));
  EXPECT_OK(cudaMemcpy(&value, x.get(), sizeof(int), cudaMemcpyDeviceToHost));
  EXPECT_EQ(value, 2);
}

TEST(the_default_stream_is_ordered_with_blocking_streams) {
  DeviceBuffer<int> x(std::vector<int>(32, 1));
  const Stream stream(cudaStreamDefault);
  EXPECT_OK(launch(add_kernel, {.grid = 1, .block = 32, .stream = stream}, x.get(), 4));
  EXPECT_OK(launch(multiply_kernel, {.grid = 1, .block = 32}, x.get(), 3));
  EXPECT_OK(launch(add_kernel, {.grid = 1, .block = 32, .stream = stream}, x.get(), 1));
  EXPECT_OK(cudaStreamSynchronize(stream));
  EXPECT_EQ(x.download()[7], 16);
}

TEST(events_order_streams) {
  DeviceBuffer<int> x(std::vector<int>(32, 1));
  const Stream first;
  const Stream second;
  cudaEvent_t event = nullptr;
  cudaEvent_t end = nullptr;
  EXPECT_OK(cudaEventCreate(&event));
  EXPECT_OK(cudaEventCreate(&end));
  EXPECT_OK(launch(add_kernel, {.grid = 1, .block = 32, .stream = first}, x.get(), 4));
  EXPECT_OK(cudaEventRecord(event, first));
  EXPECT_OK(cudaStreamWaitEvent(second, event));
  EXPECT_OK(launch(multiply_kernel, {.grid = 1, .block = 32, .stream = second}, x.get(), 3));
  EXPECT_OK(cudaEventRecord(end, second));
  EXPECT_OK(cudaEventSynchronize(end));
  float milliseconds = -1.0f;
  EXPECT_OK(cudaEventElapsedTime(&milliseconds, event, end));
  EXPECT(milliseconds >= 0.0f);
  EXPECT_EQ(x.download()[7], 15);
  EXPECT_OK(cudaEventDestroy(event));
  EXPECT_OK(cudaEventDestroy(end));
}

TEST(a_pageable_source_may_change_after_the_call) {
  DeviceBuffer<int> x(32);
  const Stream stream;
  std::vector<int> values(32, 5);
  EXPECT_OK(cudaMemcpyAsync(x.get(), values.data(), 128, cudaMemcpyHostToDevice, stream));
  values.assign(32, 6);
  EXPECT_OK(cudaStreamSynchronize(stream));
  EXPECT_EQ(x.download()[9], 5);
}

TEST(two_dimensional_copies_leave_gaps_alone) {
  std::vector<unsigned char> values(4 * 10);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<unsigned char>(i);
  DeviceBuffer<unsigned char> x(std::vector<unsigned char>(4 * 8, 99));
  EXPECT_OK(cudaMemcpy2D(x.get(), 8, values.data(), 10, 6, 4, cudaMemcpyHostToDevice));
  const auto got = x.download();
  for (int row = 0; row < 4; ++row) {
    for (int i = 0; i < 8; ++i) EXPECT_EQ(int{got[row * 8 + i]}, i < 6 ? row * 10 + i : 99);
  }
}

TEST(host_functions_run_in_order_and_may_lock) {
  DeviceBuffer<int> x(std::vector<int>(32, 1));
  const Stream stream;
  struct State {
    int calls = 0;
  } state;
  EXPECT_OK(launch(add_kernel, {.grid = 1, .block = 32, .stream = stream}, x.get(), 4));
  EXPECT_OK(cudaLaunchHostFunc(
      stream, [](void* data) { ++static_cast<State*>(data)->calls; }, &state));
  EXPECT_OK(launch(add_kernel, {.grid = 1, .block = 32, .stream = stream}, x.get(), 1));
  EXPECT_OK(cudaStreamSynchronize(stream));
  EXPECT_EQ(state.calls, 1);
  EXPECT_EQ(x.download()[0], 6);
}

TEST(streams_of_several_host_threads_do_not_disturb_each_other) {
  std::vector<std::thread> threads;
  std::vector<int> results(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t, &results] {
      int* x = nullptr;
      cudaStream_t stream = nullptr;
      EXPECT_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
      EXPECT_OK(cudaMallocAsync(&x, 128, stream));
      EXPECT_OK(cudaMemsetAsync(x, 0, 128, stream));
      for (int i = 0; i < 10; ++i) {
        EXPECT_OK(launch(add_kernel, {.grid = 1, .block = 32, .stream = stream}, x, t));
      }
      EXPECT_OK(cudaMemcpyAsync(&results[t], x, sizeof(int), cudaMemcpyDeviceToHost, stream));
      EXPECT_OK(cudaFreeAsync(x, stream));
      EXPECT_OK(cudaStreamSynchronize(stream));
      EXPECT_OK(cudaStreamDestroy(stream));
    });
  }
  for (auto& thread : threads) thread.join();
  for (int t = 0; t < 4; ++t) EXPECT_EQ(results[t], t * 10);
}

TEST(memory_is_limited_and_given_back) {
  emulator::set_memory_limit(0, 1 << 20);
  std::size_t free_before = 0;
  std::size_t total = 0;
  EXPECT_OK(cudaMemGetInfo(&free_before, &total));
  EXPECT_EQ(total, std::size_t{1} << 20);
  void* first = nullptr;
  void* second = nullptr;
  EXPECT_OK(cudaMalloc(&first, 700 << 10));
  EXPECT_EQ(static_cast<int>(cudaMalloc(&second, 700 << 10)),
            static_cast<int>(cudaErrorMemoryAllocation));
  EXPECT(second == nullptr);
  EXPECT_EQ(static_cast<int>(cudaGetLastError()), static_cast<int>(cudaErrorMemoryAllocation));
  EXPECT_EQ(static_cast<int>(cudaGetLastError()), static_cast<int>(cudaSuccess));
  // What a stream is about to free is there for whoever asks after it.
  EXPECT_OK(cudaFreeAsync(first, nullptr));
  EXPECT_OK(cudaMalloc(&second, 700 << 10));
  EXPECT_OK(cudaFree(second));
  std::size_t free_after = 0;
  EXPECT_OK(cudaMemGetInfo(&free_after, &total));
  EXPECT_EQ(free_after, free_before);
  emulator::set_memory_limit(0, std::size_t{4} << 30);
}

TEST(a_poisoned_device_fails_every_call_until_reset) {
  DeviceBuffer<int> x(std::vector<int>(32, 1));
  emulator::poison_device(0, cudaErrorIllegalAddress);
  EXPECT_EQ(static_cast<int>(launch(add_kernel, {.grid = 1, .block = 32}, x.get(), 1)),
            static_cast<int>(cudaErrorIllegalAddress));
  EXPECT_EQ(static_cast<int>(cudaDeviceSynchronize()), static_cast<int>(cudaErrorIllegalAddress));
  void* p = nullptr;
  EXPECT_EQ(static_cast<int>(cudaMalloc(&p, 16)), static_cast<int>(cudaErrorIllegalAddress));
  EXPECT_EQ(std::string(cudaGetErrorName(cudaGetLastError())) == "cudaErrorIllegalAddress", true);
  emulator::poison_device(0, cudaSuccess);
  EXPECT_OK(launch(add_kernel, {.grid = 1, .block = 32}, x.get(), 1));
  EXPECT_EQ(x.download()[0], 2);
}

TEST(devices_have_their_own_memory_and_copy_to_each_other) {
  emulator::set_device_count(2);
  int count = 0;
  EXPECT_OK(cudaGetDeviceCount(&count));
  EXPECT_EQ(count, 2);
  DeviceBuffer<int> here(std::vector<int>(32, 3));
  EXPECT_OK(cudaSetDevice(1));
  {
    DeviceBuffer<int> there(32);
    cudaPointerAttributes attributes{};
    EXPECT_OK(cudaPointerGetAttributes(&attributes, there.get()));
    EXPECT_EQ(attributes.device, 1);
    EXPECT_OK(cudaMemcpyPeer(there.get(), 1, here.get(), 0, 128));
    EXPECT_OK(launch(add_kernel, {.grid = 1, .block = 32}, there.get(), 1));
    EXPECT_OK(cudaDeviceSynchronize());
    EXPECT_OK(cudaMemcpyPeer(here.get(), 0, there.get(), 1, 128));
  }
  EXPECT_OK(cudaSetDevice(0));
  EXPECT_EQ(here.download()[31], 4);
  emulator::set_device_count(1);
  EXPECT_EQ(static_cast<int>(cudaSetDevice(1)), static_cast<int>(cudaErrorInvalidDevice));
  cudaGetLastError();
}

// Never launched through launch(), which opts in.
__global__ void __launch_bounds__(32) plain_kernel(int* x) { x[threadIdx.x] = 0; }

TEST(launches_are_checked) {
  DeviceBuffer<int> x(std::vector<int>(32, 1));
  const auto refused = [&](const LaunchConfig& config) {
    return launch(add_kernel, config, x.get(), 1) != cudaSuccess;
  };
  EXPECT(refused({.grid = 1, .block = 2048}));
  EXPECT(refused({.grid = dim3(1, 70000), .block = 32}));
  EXPECT(refused({.grid = 0, .block = 32}));
  EXPECT(refused({.grid = 1, .block = 32, .dynamic_shared_bytes = 300 * 1024}));
  EXPECT(!refused({.grid = 1, .block = 32, .dynamic_shared_bytes = 200 * 1024}));
  // Without opting in.
  cudaLaunchConfig_t config{};
  config.gridDim = 1;
  config.blockDim = 32;
  config.dynamicSmemBytes = 64 * 1024;
  EXPECT_EQ(static_cast<int>(cudaLaunchKernelEx(&config, plain_kernel, x.get())),
            static_cast<int>(cudaErrorInvalidValue));
  cudaGetLastError();
}

}  // namespace
}  // namespace komt::test
