// Threads that wait for what never comes, and lanes that meet at the wrong place.
#include "common/launch.cuh"
#include "common/reduce.cuh"
#include "device_buffer.h"
#include "ptx/barrier.cuh"
#include "ptx/fence.cuh"
#include "ptx/mma.cuh"

namespace komt::test {
namespace {

template <bool kBug>
__global__ void __launch_bounds__(128) early_exit_kernel(int* out, int count) {
  KOMT_SHARED(int, values, [128]);
  values[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (kBug && static_cast<int>(threadIdx.x) >= count) return;
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < count) out[threadIdx.x] = values[127 - threadIdx.x];
}

TEST(exit_before_a_barrier_is_divergence) {
  DeviceBuffer<int> out(96);
  EXPECT_OK(launch(early_exit_kernel<false>, {.grid = 1, .block = 128}, out.get(), 96));
  EXPECT_EQ(out.download()[0], 127);
  EXPECT_OK(launch(early_exit_kernel<true>, {.grid = 1, .block = 128}, out.get(), 96));
  EXPECT_EQ(static_cast<int>(cudaDeviceSynchronize()), static_cast<int>(cudaErrorLaunchTimeout));
  EXPECT_REPORT(kDivergence, "96 threads in __syncthreads at");
}

template <bool kBug>
__global__ void __launch_bounds__(64) two_barriers_kernel(int* out) {
  if (kBug && threadIdx.x < 32) {
    __syncthreads();
  } else if (kBug) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1;
}

TEST(different_barriers_are_divergence) {
  DeviceBuffer<int> out(64);
  EXPECT_OK(launch(two_barriers_kernel<false>, {.grid = 1, .block = 64}, out.get()));
  EXPECT_OK(cudaDeviceSynchronize());
  EXPECT_OK(launch(two_barriers_kernel<true>, {.grid = 1, .block = 64}, out.get()));
  EXPECT_REPORT(kDivergence, "wait at different barriers");
}

template <bool kBug>
__global__ void __launch_bounds__(32) divergent_shuffle_kernel(int* out) {
  int value = static_cast<int>(threadIdx.x);
  if (threadIdx.x < 16) {
    value = __shfl_xor_sync(kBug ? kFullWarp : 0x0000ffffu, value, 1);
  } else {
    value = __shfl_xor_sync(kBug ? kFullWarp : 0xffff0000u, value, 2);
  }
  out[threadIdx.x] = value;
}

TEST(lanes_at_different_shuffles_are_divergence) {
  DeviceBuffer<int> out(32);
  EXPECT_OK(launch(divergent_shuffle_kernel<false>, {.grid = 1, .block = 32}, out.get()));
  EXPECT_EQ(out.download()[17], 19);
  EXPECT_OK(launch(divergent_shuffle_kernel<true>, {.grid = 1, .block = 32}, out.get()));
  EXPECT_REPORT(kDivergence, "meet at different places");
}

template <bool kBug>
__global__ void __launch_bounds__(32) mask_kernel(int* out) {
  if (threadIdx.x >= 8 || kBug) {
    out[threadIdx.x] = static_cast<int>(__ballot_sync(0xffffff00u, 1));
  }
}

TEST(a_lane_outside_its_own_mask_is_reported) {
  DeviceBuffer<int> out(32);
  EXPECT_OK(launch(mask_kernel<false>, {.grid = 1, .block = 32}, out.get()));
  EXPECT_OK(cudaDeviceSynchronize());
  EXPECT_OK(launch(mask_kernel<true>, {.grid = 1, .block = 32}, out.get()));
  EXPECT_REPORT(kCollective, "isn't in its own mask");
}

template <bool kBug>
__global__ void __launch_bounds__(32) source_lane_kernel(int* out) {
  if (threadIdx.x < 16) {
    out[threadIdx.x] = __shfl_sync(0x0000ffffu, static_cast<int>(threadIdx.x), kBug ? 20 : 4);
  }
}

TEST(a_shuffle_from_an_absent_lane_is_reported) {
  DeviceBuffer<int> out(16);
  EXPECT_OK(launch(source_lane_kernel<false>, {.grid = 1, .block = 32}, out.get()));
  EXPECT_EQ(out.download()[7], 4);
  EXPECT_OK(launch(source_lane_kernel<true>, {.grid = 1, .block = 32}, out.get()));
  EXPECT_REPORT(kCollective, "shuffles from lane 20");
}

template <bool kBug>
__global__ void __launch_bounds__(32) partial_mma_kernel(float* out) {
  if (kBug && threadIdx.x == 31) return;
  float d[4] = {};
  const std::uint32_t a[4] = {};
  const std::uint32_t b[2] = {};
  ptx::mma_m16n8k16_f16(d, a, b);
  out[threadIdx.x] = d[0];
}

TEST(mma_without_the_whole_warp_is_reported) {
  DeviceBuffer<float> out(32);
  EXPECT_OK(launch(partial_mma_kernel<false>, {.grid = 1, .block = 32}, out.get()));
  EXPECT_OK(cudaDeviceSynchronize());
  EXPECT_OK(launch(partial_mma_kernel<true>, {.grid = 1, .block = 32}, out.get()));
  EXPECT_REPORT(kCollective, "needs all 32 lanes");
}

// A producer warp and a consumer warp pass a buffer to and fro.
template <bool kBug>
__global__ void __launch_bounds__(64) named_barrier_kernel(int* out) {
  KOMT_SHARED(int, buffer, [32]);
  const int lane = static_cast<int>(threadIdx.x % 32);
  for (int i = 0; i < 4; ++i) {
    if (threadIdx.x < 32) {
      if (i > 0) ptx::barrier_sync(2, 64);
      buffer[lane] = i * 100 + lane;
      ptx::barrier_arrive(1, 64);
    } else {
      ptx::barrier_sync(1, 64);
      out[lane] = buffer[lane ^ 3];
      if (i < 3 && !kBug) ptx::barrier_arrive(2, 64);
    }
  }
}

TEST(named_barriers_pass_data_and_a_missing_arrival_is_divergence) {
  DeviceBuffer<int> out(32);
  EXPECT_OK(launch(named_barrier_kernel<false>, {.grid = 1, .block = 64}, out.get()));
  const auto got = out.download();
  for (int lane = 0; lane < 32; ++lane) EXPECT_EQ(got[lane], 300 + (lane ^ 3));
  EXPECT_OK(launch(named_barrier_kernel<true>, {.grid = 1, .block = 64}, out.get()));
  EXPECT_REPORT(kDivergence, "bar.sync at");
}

template <bool kBug>
__global__ void __launch_bounds__(64) flag_kernel(std::uint32_t* flag, int* out) {
  if (threadIdx.x < 32) {
    while (ptx::load_acquire_gpu(flag) == 0) {
    }
    out[threadIdx.x] = 1;
  } else if (threadIdx.x == 32 && !kBug) {
    ptx::store_release_gpu(flag, 1);
  }
}

TEST(a_spin_loop_makes_progress_or_is_ended) {
  DeviceBuffer<std::uint32_t> flag(std::vector<std::uint32_t>{0});
  DeviceBuffer<int> out(32);
  EXPECT_OK(launch(flag_kernel<false>, {.grid = 1, .block = 64}, flag.get(), out.get()));
  EXPECT_EQ(out.download()[5], 1);
  EXPECT_OK(cudaMemset(flag.get(), 0, 4));
  emulator::set_watchdog_seconds(0.2);
  EXPECT_OK(launch(flag_kernel<true>, {.grid = 1, .block = 64}, flag.get(), out.get()));
  EXPECT_REPORT(kNoProgress, "no thread of the block gets ahead");
  emulator::set_watchdog_seconds(20);
}

template <bool kBug>
__global__ void __launch_bounds__(32) endless_kernel(const volatile int* flag, int* out) {
  while (kBug && *flag == 0) {
  }
  out[threadIdx.x] = 1;
}

TEST(an_endless_loop_is_ended) {
  DeviceBuffer<int> flag(std::vector<int>{0});
  DeviceBuffer<int> out(32);
  EXPECT_OK(launch(endless_kernel<false>, {.grid = 1, .block = 32}, flag.get(), out.get()));
  EXPECT_OK(cudaDeviceSynchronize());
  emulator::set_watchdog_seconds(0.2);
  EXPECT_OK(launch(endless_kernel<true>, {.grid = 1, .block = 32}, flag.get(), out.get()));
  // In the race build it is the detector that is met in the act.
  EXPECT_REPORT(kNoProgress, mode() == Mode::kRace ? "without end" : "barrier_bugs_test.cu");
  emulator::set_watchdog_seconds(20);
}

__global__ void __launch_bounds__(32) trap_kernel(int limit) {
  if (static_cast<int>(threadIdx.x) == limit) __trap();
}

TEST(a_trap_ends_the_launch) {
  EXPECT_OK(launch(trap_kernel, {.grid = 1, .block = 32}, 32));
  EXPECT_OK(cudaDeviceSynchronize());
  EXPECT_OK(launch(trap_kernel, {.grid = 1, .block = 32}, 3));
  EXPECT_EQ(static_cast<int>(cudaDeviceSynchronize()), static_cast<int>(cudaErrorLaunchFailure));
  EXPECT_REPORT(kMisuse, "__trap");
}

}  // namespace
}  // namespace komt::test
