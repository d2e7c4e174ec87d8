// Programmatic dependent launch: what a kernel touches before its wait is not its predecessor's.
#include "common/launch.cuh"
#include "device_buffer.h"
#include "ptx/grid_dependency.cuh"

namespace komt::test {
namespace {

__global__ void __launch_bounds__(64) produce_kernel(int* data, int value) {
  ptx::grid_dependency_wait();
  data[blockIdx.x * 64 + threadIdx.x] = value;
  ptx::grid_dependency_launch();
}

enum class Order { kRight, kNoWait, kReadEarly, kWriteEarly };
// One thread waits for the whole block.
template <Order kOrder>
__global__ void __launch_bounds__(64) consume_kernel(const int* weights, int* data, int* out) {
  const int at = static_cast<int>(blockIdx.x * 64 + threadIdx.x);
  int value = weights[threadIdx.x];  // nobody writes them: may come first
  if (kOrder == Order::kReadEarly) value += data[at];
  if (kOrder == Order::kWriteEarly) data[at] = -5;
  if (kOrder != Order::kNoWait) {
    if (threadIdx.x == 0) ptx::grid_dependency_wait();
    __syncthreads();
  }
  if (kOrder == Order::kRight) value += data[at];
  out[at] = value;
}

template <Order kOrder>
int run(int* weights, int* data, int* out) {
  cudaStream_t stream = nullptr;
  EXPECT_OK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const LaunchConfig config{
      .grid = 6, .block = 64, .stream = stream, .programmatic_dependent_launch = true};
  EXPECT_OK(cudaMemsetAsync(data, 0, 6 * 64 * sizeof(int), stream));
  for (int round = 1; round <= 3; ++round) {
    EXPECT_OK(launch(produce_kernel, config, data, round * 10));
    EXPECT_OK(launch(consume_kernel<kOrder>, config, weights, data, out));
  }
  cudaStreamSynchronize(stream);
  EXPECT_OK(cudaStreamDestroy(stream));
  return 0;
}

struct Buffers {
  DeviceBuffer<int> weights{std::vector<int>(64, 1)};
  DeviceBuffer<int> data{std::vector<int>(6 * 64, 0)};
  DeviceBuffer<int> out{6 * 64};
};

TEST(a_kernel_that_waits_sees_what_came_before) {
  Buffers buffers;
  run<Order::kRight>(buffers.weights.get(), buffers.data.get(), buffers.out.get());
  for (const int value : buffers.out.download()) EXPECT_EQ(value, 31);
}

TEST(a_kernel_that_never_waits_is_reported) {
  Buffers buffers;
  run<Order::kNoWait>(buffers.weights.get(), buffers.data.get(), buffers.out.get());
  EXPECT_REPORT(kGridDependency, "ends without grid_dependency_wait");
}

TEST(a_read_before_the_wait_sees_old_data_and_is_reported) {
  emulator::set_seed(
      0);  // otherwise the predecessor may have run before its successor was launched
  Buffers buffers;
  run<Order::kReadEarly>(buffers.weights.get(), buffers.data.get(), buffers.out.get());
  if (mode() == Mode::kRace) EXPECT_REPORT(kGridDependency, "grid_dependency_test.cu");
  EXPECT_EQ(buffers.out.download()[0], 21);  // the producer of the round before, not this one's 31
}

TEST(a_write_before_the_wait_is_reported) {
  emulator::set_seed(0);
  Buffers buffers;
  run<Order::kWriteEarly>(buffers.weights.get(), buffers.data.get(), buffers.out.get());
  if (mode() == Mode::kRace) EXPECT_REPORT(kGridDependency, "grid_dependency_test.cu");
}

// Launches of it are prepared once for each device, so this is a device of its own.
TEST(devices_before_sm_90_run_one_kernel_after_the_other) {
  emulator::set_device_count(2);
  emulator::set_compute_capability(1, 8, 0);
  EXPECT_OK(cudaSetDevice(1));
  {
    Buffers buffers;
    run<Order::kReadEarly>(buffers.weights.get(), buffers.data.get(), buffers.out.get());
    EXPECT_EQ(buffers.out.download()[0], 31);
    EXPECT_OK(cudaDeviceSynchronize());
  }
  EXPECT_OK(cudaSetDevice(0));
  emulator::set_device_count(1);
}

}  // namespace
}  // namespace komt::test
