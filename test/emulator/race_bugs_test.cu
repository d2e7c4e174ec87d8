// Accesses that nothing orders. In the fast build some of these bugs show in results under some
// seeds; the race build reports each of them under every seed.
#include "common/launch.cuh"
#include "common/reduce.cuh"
#include "device_buffer.h"
#include "ptx/cp_async.cuh"
#include "ptx/fence.cuh"
#include "ptx/wgmma.cuh"

namespace komt::test {
namespace {

#define EXPECT_RACE_REPORT(check, text) \
  do {                                  \
    if (mode() == Mode::kRace) {        \
      EXPECT_REPORT(check, text);       \
    } else {                            \
      ignore_reports();                 \
    }                                   \
  } while (false)

template <bool kBug>
__global__ void __launch_bounds__(128) missing_barrier_kernel(int* out) {
  KOMT_SHARED(int, values, [128]);
  values[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (!kBug) __syncthreads();
  out[threadIdx.x] = values[127 - threadIdx.x];
}

TEST(a_missing_barrier_is_a_race) {
  DeviceBuffer<int> out(128);
  EXPECT_OK(launch(missing_barrier_kernel<false>, {.grid = 1, .block = 128}, out.get()));
  EXPECT_EQ(out.download()[1], 126);
  EXPECT_OK(launch(missing_barrier_kernel<true>, {.grid = 1, .block = 128}, out.get()));
  EXPECT_RACE_REPORT(kRace, "race_bugs_test.cu");
}

template <bool kBug>
__global__ void __launch_bounds__(64) overwrite_kernel(int* out) {
  KOMT_SHARED(int, values, [64]);
  int sum = 0;
  for (int i = 0; i < 4; ++i) {
    values[threadIdx.x] = i;
    __syncthreads();
    sum += values[63 - threadIdx.x];
    if (!kBug) __syncthreads();  // the next round overwrites what others still read
  }
  out[threadIdx.x] = sum;
}

TEST(a_write_after_an_unordered_read_is_a_race) {
  DeviceBuffer<int> out(64);
  EXPECT_OK(launch(overwrite_kernel<false>, {.grid = 1, .block = 64}, out.get()));
  EXPECT_EQ(out.download()[1], 6);
  EXPECT_OK(launch(overwrite_kernel<true>, {.grid = 1, .block = 64}, out.get()));
  EXPECT_RACE_REPORT(kRace, "write of shared memory races with a read");
}

template <bool kBug>
__global__ void __launch_bounds__(32) warp_exchange_kernel(int* out) {
  KOMT_SHARED(int, values, [32]);
  values[threadIdx.x] = static_cast<int>(threadIdx.x);
  if (kBug) {
    __shfl_sync(kFullWarp, 0, 0);  // brings the lanes together, orders no memory
  } else {
    __syncwarp();
  }
  out[threadIdx.x] = values[threadIdx.x ^ 1];
}

TEST(a_missing_syncwarp_is_a_race) {
  DeviceBuffer<int> out(32);
  EXPECT_OK(launch(warp_exchange_kernel<false>, {.grid = 1, .block = 32}, out.get()));
  EXPECT_EQ(out.download()[4], 5);
  EXPECT_OK(launch(warp_exchange_kernel<true>, {.grid = 1, .block = 32}, out.get()));
  EXPECT_RACE_REPORT(kRace, "shared");
}

template <bool kBug>
__global__ void __launch_bounds__(32) global_sum_kernel(int* total) {
  if (kBug) {
    *total += 1;
  } else {
    atomicAdd(total, 1);
  }
}

TEST(an_unordered_update_across_blocks_is_a_race_unless_atomic) {
  DeviceBuffer<int> total(std::vector<int>{0});
  EXPECT_OK(launch(global_sum_kernel<false>, {.grid = 4, .block = 32}, total.get()));
  EXPECT_EQ(total.download()[0], 128);
  EXPECT_OK(launch(global_sum_kernel<true>, {.grid = 4, .block = 32}, total.get()));
  EXPECT_RACE_REPORT(kRace, "global");
}

// The last block to come adds up what all have left: a fence before the ticket, one behind it.
enum class Fences { kBoth, kNoRelease, kNoAcquire };
template <Fences kFences>
__global__ void __launch_bounds__(32)
    last_block_kernel(int* partial, unsigned* tickets, int* total) {
  KOMT_SHARED(bool, is_last, );
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = static_cast<int>(blockIdx.x) + 1;
    if (kFences != Fences::kNoRelease) __threadfence();
    is_last = atomicAdd(tickets, 1u) == gridDim.x - 1;
    if (kFences != Fences::kNoAcquire) __threadfence();
  }
  __syncthreads();
  if (is_last && threadIdx.x == 5) {
    int sum = 0;
    for (unsigned i = 0; i < gridDim.x; ++i) sum += partial[i];
    *total = sum;
    *tickets = 0;
  }
}

TEST(the_last_block_needs_both_fences) {
  DeviceBuffer<int> partial(8);
  DeviceBuffer<unsigned> tickets(std::vector<unsigned>{0});
  DeviceBuffer<int> total(1);
  for (int round = 0; round < 2; ++round) {
    EXPECT_OK(launch(last_block_kernel<Fences::kBoth>, {.grid = 8, .block = 32}, partial.get(),
                     tickets.get(), total.get()));
    EXPECT_EQ(total.download()[0], 36);
  }
  EXPECT_OK(launch(last_block_kernel<Fences::kNoRelease>, {.grid = 8, .block = 32}, partial.get(),
                   tickets.get(), total.get()));
  EXPECT_RACE_REPORT(kRace, "of block");
  EXPECT_OK(launch(last_block_kernel<Fences::kNoAcquire>, {.grid = 8, .block = 32}, partial.get(),
                   tickets.get(), total.get()));
  EXPECT_RACE_REPORT(kRace, "of block");
}

__global__ void __launch_bounds__(32)
    ticket_kernel(int* partial, std::uint32_t* tickets, int* total) {
  if (threadIdx.x != 0) return;
  partial[blockIdx.x] = 1;
  if (ptx::atomic_add_acq_rel_gpu(tickets, 1) != gridDim.x - 1) return;
  int sum = 0;
  for (unsigned i = 0; i < gridDim.x; ++i) sum += partial[i];
  *total = sum;
}

TEST(an_acquire_release_ticket_orders_blocks) {
  DeviceBuffer<int> partial(8);
  DeviceBuffer<std::uint32_t> tickets(std::vector<std::uint32_t>{0});
  DeviceBuffer<int> total(1);
  EXPECT_OK(
      launch(ticket_kernel, {.grid = 8, .block = 32}, partial.get(), tickets.get(), total.get()));
  EXPECT_EQ(total.download()[0], 8);
}

enum class Wait { kRight, kTooLate, kNone, kNoBarrier };
template <Wait kWait>
__global__ void __launch_bounds__(64) cp_async_kernel(const int* in, int* out) {
  KOMT_SHARED(int, stages, [2][64 * 4]);
  int* mine = &stages[0][threadIdx.x * 4];
  ptx::cp_async<16>(mine, in + threadIdx.x * 4);
  ptx::cp_async_commit();
  ptx::cp_async<16>(&stages[1][threadIdx.x * 4], in + threadIdx.x * 4);
  ptx::cp_async_commit();
  if (kWait == Wait::kRight || kWait == Wait::kNoBarrier) ptx::cp_async_wait<1>();
  if (kWait == Wait::kTooLate) ptx::cp_async_wait<2>();
  if (kWait != Wait::kNoBarrier) __syncthreads();
  out[threadIdx.x] = stages[0][(63 - threadIdx.x) * 4];
  if (kWait != Wait::kNone) ptx::cp_async_wait<0>();
}

TEST(cp_async_wants_its_wait_and_its_barrier) {
  std::vector<int> values(64 * 4);
  for (int i = 0; i < 64; ++i) values[i * 4] = i;
  DeviceBuffer<int> in(values);
  DeviceBuffer<int> out(64);
  EXPECT_OK(launch(cp_async_kernel<Wait::kRight>, {.grid = 1, .block = 64}, in.get(), out.get()));
  EXPECT_EQ(out.download()[1], 62);
  EXPECT_OK(launch(cp_async_kernel<Wait::kTooLate>, {.grid = 1, .block = 64}, in.get(), out.get()));
  if (emulator::seed() == 0 && mode() != Mode::kRace) EXPECT_EQ(out.download()[62], -1);
  EXPECT_RACE_REPORT(kMissingWait, "still filling");
  EXPECT_OK(
      launch(cp_async_kernel<Wait::kNoBarrier>, {.grid = 1, .block = 64}, in.get(), out.get()));
  EXPECT_RACE_REPORT(kRace, "shared");
  emulator::set_seed(0);  // otherwise the copies may all have been made at once
  EXPECT_OK(launch(cp_async_kernel<Wait::kNone>, {.grid = 1, .block = 64}, in.get(), out.get()));
  EXPECT_REPORT(kMissingWait, "");
}

__global__ void __launch_bounds__(32) unaligned_cp_async_kernel(const char* in, int offset) {
  KOMT_SHARED(int, stage, [32 * 4]);
  ptx::cp_async<16>(&stage[threadIdx.x * 4], in + threadIdx.x * 16 + offset);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
}

TEST(a_misaligned_cp_async_is_reported) {
  DeviceBuffer<char> in(std::vector<char>(32 * 16 + 16));
  EXPECT_OK(launch(unaligned_cp_async_kernel, {.grid = 1, .block = 32}, in.get(), 0));
  EXPECT_OK(launch(unaligned_cp_async_kernel, {.grid = 1, .block = 32}, in.get(), 8));
  EXPECT_REPORT(kMisuse, "isn't a multiple");
}

enum class WgmmaBug { kNone, kNoProxyFence, kNoFence, kReadBeforeWait, kOverwritten, kNoWait };

// Two products of one tile, which is overwritten behind the first.
template <WgmmaBug kBug>
__global__ void __launch_bounds__(128) wgmma_bug_kernel(float* out) {
  constexpr int kElements = 128 * 64;
  KOMT_DYN_SHARED(shared);
  auto* tiles = reinterpret_cast<unsigned short*>(shared);
  const auto fill = [&](unsigned short value) {
    for (int i = static_cast<int>(threadIdx.x); i < kElements; i += 128) tiles[i] = value;
    if (kBug != WgmmaBug::kNoProxyFence) ptx::fence_proxy_async();
    __syncthreads();
  };
  const std::uint64_t a = ptx::wgmma_operand(tiles);
  const std::uint64_t b = ptx::wgmma_operand(tiles + 64 * 64);
  float d[8][4];
  fill(0x3c00);  // one
  if (kBug != WgmmaBug::kNoFence) ptx::wgmma_fence();
  ptx::wgmma_m64k16<half, 64>(d, a, b, false);
  ptx::wgmma_commit();
  if (kBug == WgmmaBug::kReadBeforeWait) out[threadIdx.x] = d[0][0];
  if (kBug == WgmmaBug::kNoWait) return;
  if (kBug != WgmmaBug::kOverwritten) ptx::wgmma_wait<0>();
  __syncthreads();
  fill(0x4000);  // two
  ptx::wgmma_wait<0>();
  ptx::wgmma_fence();
  ptx::wgmma_m64k16<half, 64>(d, a, b, true);
  ptx::wgmma_commit();
  ptx::wgmma_wait<0>();
  if (kBug != WgmmaBug::kReadBeforeWait) out[threadIdx.x] = d[0][0];
}

template <WgmmaBug kBug>
void run_wgmma_bug(DeviceBuffer<float>& out) {
  EXPECT_OK(launch(wgmma_bug_kernel<kBug>,
                   {.grid = 1, .block = 128, .dynamic_shared_bytes = 128 * 128}, out.get()));
}

TEST(wgmma_wants_its_fences_and_waits) {
  DeviceBuffer<float> out(128);
  run_wgmma_bug<WgmmaBug::kNone>(out);
  EXPECT_EQ(out.download()[5], 16.0f + 64.0f);
  run_wgmma_bug<WgmmaBug::kReadBeforeWait>(out);
  const float early = out.download()[5];
  EXPECT(early != early);
  run_wgmma_bug<WgmmaBug::kNoProxyFence>(out);
  EXPECT_RACE_REPORT(kMissingWait, "no fence_proxy_async() by that thread");
  run_wgmma_bug<WgmmaBug::kNoFence>(out);
  EXPECT_REPORT(kMisuse, "wgmma without a wgmma_fence()");
  run_wgmma_bug<WgmmaBug::kOverwritten>(out);
  EXPECT_RACE_REPORT(kRace, "that a wgmma may still be reading");
  run_wgmma_bug<WgmmaBug::kNoWait>(out);
  EXPECT_REPORT(kMissingWait, "a warp ends with 1 wgmma products it never waited for");
}

}  // namespace
}  // namespace komt::test
