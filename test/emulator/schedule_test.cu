// Schedules differ between seeds, repeat with one, and what ran is on record.
#include <algorithm>
#include <set>

#include "common/launch.cuh"
#include "device_buffer.h"

namespace komt::test {
namespace {

// The order in which the warps of all blocks come to a counter.
__global__ void __launch_bounds__(128) order_kernel(unsigned* counter, unsigned* order) {
  for (int i = 0; i < 4; ++i) {
    if (threadIdx.x % 32 == 0) {
      order[atomicAdd(counter, 1u)] = blockIdx.x * 4 + threadIdx.x / 32;
    }
    __syncwarp();
  }
}

std::vector<unsigned> run_with_seed(std::uint64_t seed) {
  emulator::set_worker_threads(1);
  emulator::set_seed(seed);
  DeviceBuffer<unsigned> counter(std::vector<unsigned>{0});
  DeviceBuffer<unsigned> order(8 * 4 * 4);
  EXPECT_OK(launch(order_kernel, {.grid = 8, .block = 128}, counter.get(), order.get()));
  auto got = order.download();
  emulator::set_worker_threads(2);
  return got;
}

TEST(a_seed_repeats_its_schedule_and_others_differ) {
  if (emulator::seed() != 0) return;  // it sets its own
  std::set<std::vector<unsigned>> schedules;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    const auto once = run_with_seed(seed);
    EXPECT(once == run_with_seed(seed));
    schedules.insert(once);
  }
  EXPECT_EQ(schedules.size(), std::size_t{6});
  const auto in_order = run_with_seed(0);
  EXPECT(std::is_sorted(in_order.begin(), in_order.end()));
}

template <int kTag>
__global__ void __launch_bounds__(32) logged_kernel(int* out) {
  out[blockIdx.x * 32 + threadIdx.x] = kTag;
}

TEST(launches_are_logged_by_name_and_shape) {
  DeviceBuffer<int> out(96);
  emulator::clear_launch_log();
  EXPECT_OK(launch(logged_kernel<17>, {.grid = 3, .block = 32}, out.get()));
  EXPECT_OK(launch(logged_kernel<17>, {.grid = 3, .block = 32}, out.get()));
  EXPECT_OK(launch(logged_kernel<18>, {.grid = 1, .block = 32}, out.get()));
  EXPECT_OK(cudaDeviceSynchronize());
  const auto log = emulator::launch_log();
  EXPECT_EQ(log.size(), std::size_t{2});
  for (const auto& record : log) {
    const bool is_first = record.kernel.find("logged_kernel<17>") != std::string::npos;
    EXPECT(is_first || record.kernel.find("logged_kernel<18>") != std::string::npos);
    EXPECT_EQ(record.count, is_first ? std::uint64_t{2} : std::uint64_t{1});
    EXPECT_EQ(record.grid.x, is_first ? 3u : 1u);
    EXPECT_EQ(record.block.x, 32u);
  }
}

// Large enough to be worth several workers.
__global__ void __launch_bounds__(128) heavy_kernel(float* out) {
  float x = static_cast<float>(threadIdx.x);
  for (int i = 0; i < 2000; ++i) x = x * 0.999f + 1.0f;
  out[blockIdx.x * 128 + threadIdx.x] = __shfl_xor_sync(0xffffffffu, x, 1);
}

TEST(several_workers_give_the_same_result) {
  DeviceBuffer<float> out(64 * 128);
  emulator::set_worker_threads(1);
  EXPECT_OK(launch(heavy_kernel, {.grid = 64, .block = 128}, out.get()));
  const auto alone = out.download();
  emulator::set_worker_threads(4);
  EXPECT_OK(launch(heavy_kernel, {.grid = 64, .block = 128}, out.get()));
  EXPECT(out.download() == alone);
  emulator::set_worker_threads(2);
}

}  // namespace
}  // namespace komt::test
