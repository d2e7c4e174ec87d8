// Atomics on global and shared memory.
#include "common/launch.cuh"
#include "device_buffer.h"

namespace komt::test {
namespace {

__global__ void __launch_bounds__(64)
    atomics_kernel(int* counters, unsigned long long* wide, float* sum) {
  KOMT_SHARED(int, local, );
  if (threadIdx.x == 0) local = 0;
  __syncthreads();
  const int thread = static_cast<int>(threadIdx.x);
  atomicAdd(&local, 1);
  atomicAdd(counters, 1);
  atomicMax(counters + 1, thread);
  atomicMin(counters + 2, -thread);
  atomicOr(counters + 3, 1 << thread % 16);
  atomicXor(counters + 4, thread);
  atomicSub(counters + 5, 2);
  atomicAdd(wide, (1ull << 40) + 1);
  atomicAdd(sum, 0.5f);
  int old = atomicAdd(counters + 6, 0);
  while (true) {
    const int seen = atomicCAS(counters + 6, old, old + 3);
    if (seen == old) break;
    old = seen;
  }
  atomicInc(reinterpret_cast<unsigned*>(counters + 7), 9u);
  __syncthreads();
  if (thread == 0) atomicExch(counters + 8, local);
}

TEST(atomics_lose_nothing) {
  std::vector<int> zeros(9, 0);
  DeviceBuffer<int> counters(zeros);
  DeviceBuffer<unsigned long long> wide(std::vector<unsigned long long>{0});
  DeviceBuffer<float> sum(std::vector<float>{0.0f});
  EXPECT_OK(
      launch(atomics_kernel, {.grid = 8, .block = 64}, counters.get(), wide.get(), sum.get()));
  const auto got = counters.download();
  EXPECT_EQ(got[0], 512);
  EXPECT_EQ(got[1], 63);
  EXPECT_EQ(got[2], -63);
  EXPECT_EQ(got[3], 0xffff);
  EXPECT_EQ(got[4], 0);
  EXPECT_EQ(got[5], -1024);
  EXPECT_EQ(got[6], 512 * 3);
  EXPECT_EQ(got[7], 512 % 10);
  EXPECT_EQ(got[8], 64);
  EXPECT_EQ(wide.download()[0], (512ull << 40) + 512);
  EXPECT_EQ(sum.download()[0], 256.0f);
}

}  // namespace
}  // namespace komt::test
