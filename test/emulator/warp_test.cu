// Functions in which the lanes of a warp exchange values.
#include "common/launch.cuh"
#include "common/reduce.cuh"
#include "device_buffer.h"

namespace komt::test {
namespace {

__global__ void __launch_bounds__(64) shuffle_kernel(int* out) {
  const int value = static_cast<int>(threadIdx.x);
  const int lane = static_cast<int>(threadIdx.x % 32);
  int* mine = out + threadIdx.x * 6;
  mine[0] = __shfl_sync(kFullWarp, value, 5);
  mine[1] = __shfl_xor_sync(kFullWarp, value, 3);
  mine[2] = __shfl_up_sync(kFullWarp, value, 2);
  mine[3] = __shfl_down_sync(kFullWarp, value, 2);
  mine[4] = __shfl_sync(kFullWarp, value, 9, 8);
  // Halves of a warp may meet apart.
  mine[5] = lane < 16 ? __shfl_sync(0x0000ffffu, value, 0) : __shfl_sync(0xffff0000u, value, 16);
}

TEST(shuffles_move_values_between_lanes) {
  DeviceBuffer<int> out(64 * 6);
  EXPECT_OK(launch(shuffle_kernel, {.grid = 1, .block = 64}, out.get()));
  const std::vector<int> got = out.download();
  for (int thread = 0; thread < 64; ++thread) {
    const int first = thread / 32 * 32;
    const int lane = thread % 32;
    EXPECT_EQ(got[thread * 6 + 0], first + 5);
    EXPECT_EQ(got[thread * 6 + 1], first + (lane ^ 3));
    EXPECT_EQ(got[thread * 6 + 2], first + (lane < 2 ? lane : lane - 2));
    EXPECT_EQ(got[thread * 6 + 3], first + (lane > 29 ? lane : lane + 2));
    EXPECT_EQ(got[thread * 6 + 4], first + lane / 8 * 8 + 1);
    EXPECT_EQ(got[thread * 6 + 5], first + (lane < 16 ? 0 : 16));
  }
}

__global__ void __launch_bounds__(32) vote_kernel(unsigned* out) {
  const int lane = static_cast<int>(threadIdx.x);
  unsigned* mine = out + lane * 10;
  mine[0] = __ballot_sync(kFullWarp, lane % 3 == 0);
  mine[1] = __any_sync(kFullWarp, lane == 31);
  mine[2] = __all_sync(kFullWarp, lane < 31);
  mine[3] = __match_any_sync(kFullWarp, lane % 4);
  int all = 0;
  mine[4] = __match_all_sync(kFullWarp, 7, &all) + static_cast<unsigned>(all);
  mine[5] = __reduce_add_sync(kFullWarp, static_cast<unsigned>(lane));
  mine[6] = static_cast<unsigned>(__reduce_min_sync(kFullWarp, lane - 20));
  mine[7] = __reduce_max_sync(kFullWarp, static_cast<unsigned>(lane * 2));
  mine[8] = __reduce_or_sync(kFullWarp, 1u << lane);
  mine[9] = __activemask();
}

TEST(votes_matches_and_reductions_agree_with_their_definition) {
  DeviceBuffer<unsigned> out(32 * 10);
  EXPECT_OK(launch(vote_kernel, {.grid = 1, .block = 32}, out.get()));
  const std::vector<unsigned> got = out.download();
  for (int lane = 0; lane < 32; ++lane) {
    const unsigned* mine = got.data() + lane * 10;
    EXPECT_EQ(mine[0], 0x49249249u);
    EXPECT_EQ(mine[1], 1u);
    EXPECT_EQ(mine[2], 0u);
    EXPECT_EQ(mine[3], 0x11111111u << (lane % 4));
    EXPECT_EQ(mine[4], 0u);
    EXPECT_EQ(mine[5], 496u);
    EXPECT_EQ(static_cast<int>(mine[6]), -20);
    EXPECT_EQ(mine[7], 62u);
    EXPECT_EQ(mine[8], ~0u);
  }
}

template <int kThreads>
__global__ void __launch_bounds__(kThreads)
    block_reduce_kernel(const float* x, float* sums, float* maxima) {
  KOMT_SHARED(float, scratch, [kThreads / 32]);
  const float value = x[blockIdx.x * kThreads + threadIdx.x];
  const float sum = block_sum<kThreads>(value, scratch);
  __syncthreads();
  const float largest = block_max<kThreads>(value, scratch);
  if (threadIdx.x == 7) {
    sums[blockIdx.x] = sum;
    maxima[blockIdx.x] = largest;
  }
}

TEST(block_reductions_give_every_thread_the_result) {
  constexpr int kThreads = 256;
  constexpr int kBlocks = 5;
  std::vector<float> x(kThreads * kBlocks);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i * 37 % 1009) - 300.0f;
  DeviceBuffer<float> input(x);
  DeviceBuffer<float> sums(kBlocks);
  DeviceBuffer<float> maxima(kBlocks);
  EXPECT_OK(launch(block_reduce_kernel<kThreads>, {.grid = kBlocks, .block = kThreads}, input.get(),
                   sums.get(), maxima.get()));
  const auto got_sums = sums.download();
  const auto got_maxima = maxima.download();
  for (int block = 0; block < kBlocks; ++block) {
    float sum = 0.0f;
    float largest = -1e9f;
    for (int i = 0; i < kThreads; ++i) {
      sum += x[block * kThreads + i];  // integers: exact in any order
      largest = std::max(largest, x[block * kThreads + i]);
    }
    EXPECT_EQ(got_sums[block], sum);
    EXPECT_EQ(got_maxima[block], largest);
  }
}

}  // namespace
}  // namespace komt::test
