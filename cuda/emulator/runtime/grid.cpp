#include "emulator/runtime/grid.h"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <utility>

#include "emulator/runtime/happens_before.h"
#include "emulator/runtime/launch_log.h"
#include "emulator/runtime/settings.h"
#include "emulator/runtime/worker_pool.h"

namespace komt::emulator {

namespace {

constexpr std::uint64_t kMostAhead = 3;
// Waking other threads costs tens of microseconds.
constexpr double kWorthSharing = 200e-6;

// Idle blocks stay with the OS thread whose fibers they hold.
thread_local std::vector<std::unique_ptr<Block>> idle_blocks;

std::unique_ptr<Block> take_block() {
  if (idle_blocks.empty()) return std::make_unique<Block>();
  std::unique_ptr<Block> block = std::move(idle_blocks.back());
  idle_blocks.pop_back();
  return block;
}

void put_back(std::unique_ptr<Block> block) { idle_blocks.push_back(std::move(block)); }

// The i-th block to run: no order is promised, so that odd seeds go through the grid in strides.
class BlockOrder {
 public:
  explicit BlockOrder(const KernelLaunch& launch)
      : grid_(launch.grid),
        total_(static_cast<std::uint64_t>(launch.grid.x) * launch.grid.y * launch.grid.z) {
    const std::uint64_t seed = settings().seed;
    if (seed == 0) return;
    Random random;
    random.seed(seed, launch.sequence);
    const auto bound = static_cast<std::uint32_t>(std::min<std::uint64_t>(total_, 1u << 31));
    first_ = random.below(bound);
    stride_ = 1 + random.below(bound);
    while (std::gcd(stride_, total_) != 1) ++stride_;
    stride_ %= total_;
  }

  std::uint64_t total() const { return total_; }

  uint3 operator()(std::uint64_t i) const {
    const std::uint64_t at =
        static_cast<std::uint64_t>((static_cast<unsigned __int128>(i) * stride_ + first_) % total_);
    return {static_cast<unsigned>(at % grid_.x), static_cast<unsigned>(at / grid_.x % grid_.y),
            static_cast<unsigned>(at / grid_.x / grid_.y)};
  }

 private:
  dim3 grid_;
  std::uint64_t total_;
  std::uint64_t first_ = 0;
  std::uint64_t stride_ = 1;
};

}  // namespace

BlocksAhead start_ahead(const KernelLaunch& launch) {
  BlocksAhead ahead;
  const BlockOrder order(launch);
  const std::uint64_t count = std::min(order.total(), kMostAhead);
  for (; ahead.started < count && ahead.error == cudaSuccess; ++ahead.started) {
    std::unique_ptr<Block> block = take_block();
    const BlockResult result = block->run(launch, order(ahead.started), true);
    if (result == BlockResult::kAbandoned) ahead.error = block->error();
    if (result == BlockResult::kParked) {
      ahead.parked.push_back(std::move(block));
    } else {
      put_back(std::move(block));
    }
  }
  return ahead;
}

void discard_ahead(BlocksAhead ahead) {
  for (auto& block : ahead.parked) {
    block->discard();
    put_back(std::move(block));
  }
}

cudaError_t run_grid(const KernelLaunch& launch, BlocksAhead ahead) {
  const auto begin = std::chrono::steady_clock::now();
  const BlockOrder order(launch);
  std::atomic<int> error{ahead.error};
  for (auto& block : ahead.parked) {
    if (error != cudaSuccess) {
      block->discard();
    } else if (block->resume() == BlockResult::kAbandoned) {
      error = block->error();
    }
    put_back(std::move(block));
  }
  std::atomic<std::uint64_t> next{ahead.started};
  const auto work = [&] {
    std::unique_ptr<Block> block = take_block();
    for (std::uint64_t i; error == cudaSuccess && (i = next++) < order.total();) {
      if (block->run(launch, order(i), false) == BlockResult::kAbandoned) error = block->error();
    }
    put_back(std::move(block));
  };
  const std::uint64_t blocks = order.total() - std::min(ahead.started, order.total());
  const double expected = expected_block_seconds(launch) * static_cast<double>(blocks);
  const int helpers =
      race_detection_enabled || expected < kWorthSharing
          ? 0
          : static_cast<int>(std::min<std::uint64_t>(settings().worker_threads - 1, blocks - 1));
  run_with_helpers(helpers, work);
  log_launch(launch,
             std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() *
                 (helpers + 1));
  return static_cast<cudaError_t>(error.load());
}

}  // namespace komt::emulator
