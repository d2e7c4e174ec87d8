#include "emulator/race/clocks.h"

#include <algorithm>

#include "emulator/runtime/happens_before.h"

namespace komt::emulator {

namespace {

// What threads of one block have published through one variable.
struct Published {
  Snapshot for_block;
  Snapshot for_device;
};

struct Variable {
  std::uint64_t launch = 0;
  std::map<std::uint32_t, Published> blocks;
};

// The race build runs one block at a time.
std::unordered_map<const void*, Variable>& variables() {
  static auto* variables = new std::unordered_map<const void*, Variable>;
  return *variables;
}

void join(ClockVector& a, const ClockVector& b) {
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) a[i] = std::max(a[i], b[i]);
}

Snapshot joined(const Snapshot& a, const Snapshot& b) {
  if (!a || !b || a == b) return a ? a : b;
  auto result = std::make_shared<ClockVector>(*a);
  join(*result, *b);
  return result;
}

void learn(ForeignKnowledge& knowledge, std::uint32_t block, const Snapshot& snapshot) {
  if (!snapshot) return;
  Snapshot& known = knowledge[block];
  known = joined(known, snapshot);
}

std::uint32_t linear_index(const Block& block) {
  const dim3 grid = block.launch()->grid;
  const uint3 index = block.index();
  return (index.z * grid.y + index.y) * grid.x + index.x;
}

// What one of them has waited for, all have that meet it.
void share_grid_wait(Block& block, unsigned first, unsigned count, unsigned lanes) {
  if (!block.launch()->programmatic) return;
  bool waited = false;
  const auto each = [&](auto visit) {
    for (unsigned i = 0; i < count; ++i) {
      if (lanes >> i % kWarpLanes & 1) visit(block.fiber(first + i));
    }
  };
  each([&](const Fiber& fiber) { waited |= fiber.waited_for_grid; });
  if (waited) each([](Fiber& fiber) { fiber.waited_for_grid = true; });
}

}  // namespace

Clock BlockClocks::known(const Fiber& fiber, std::uint32_t thread) const {
  const ThreadClock& clock = threads[fiber.linear];
  if (thread / kWarpLanes == fiber.warp) return clock.lanes[thread % kWarpLanes];
  return clock.wide ? (*clock.wide)[thread] : common[thread];
}

bool BlockClocks::knows_foreign(const Fiber& fiber, std::uint32_t other, std::uint32_t thread,
                                Clock clock) const {
  for (const ForeignKnowledge* knowledge : {&foreign, &threads[fiber.linear].foreign}) {
    const auto found = knowledge->find(other);
    if (found != knowledge->end() && (*found->second)[thread] >= clock) return true;
  }
  return false;
}

bool BlockClocks::knows_anything_of(const Fiber& fiber, std::uint32_t other) const {
  return foreign.count(other) != 0 || threads[fiber.linear].foreign.count(other) != 0;
}

Snapshot BlockClocks::snapshot(const Fiber& fiber) const {
  auto result = std::make_shared<ClockVector>(threads.size());
  for (std::uint32_t i = 0; i < result->size(); ++i) (*result)[i] = known(fiber, i);
  return result;
}

ClockVector& BlockClocks::widen(const Fiber& fiber) {
  ThreadClock& clock = threads[fiber.linear];
  if (!clock.wide) clock.wide = std::make_unique<ClockVector>(common);
  return *clock.wide;
}

void begin_block_clocks(Block& block) {
  if (!block.clocks()) block.clocks() = std::make_shared<BlockClocks>();
  BlockClocks& clocks = *block.clocks();
  clocks.block = linear_index(block);
  clocks.common.assign(block.threads(), 0);
  clocks.threads.clear();
  clocks.threads.resize(block.threads());
  clocks.foreign.clear();
  for (ClockVector& barrier : clocks.barriers) barrier.clear();
  for (unsigned i = 0; i < block.threads(); ++i) {
    ThreadClock& clock = clocks.threads[i];
    std::fill(std::begin(clock.lanes), std::end(clock.lanes), 0);
    clock.lanes[i % kWarpLanes] = 1;
  }
}

void order_lanes(Block& block, unsigned warp, unsigned lanes) {
  BlockClocks& clocks = *block.clocks();
  Clock all[kWarpLanes] = {};
  std::unique_ptr<ClockVector> wide;
  ForeignKnowledge foreign;
  const auto each = [&](auto visit) {
    for (unsigned lane = 0; lane < kWarpLanes; ++lane) {
      if (lanes >> lane & 1) visit(block.fiber(warp * kWarpLanes + lane));
    }
  };
  each([&](const Fiber& fiber) {
    const ThreadClock& clock = clocks.threads[fiber.linear];
    for (unsigned i = 0; i < kWarpLanes; ++i) all[i] = std::max(all[i], clock.lanes[i]);
    if (clock.wide) {
      if (!wide) wide = std::make_unique<ClockVector>(clocks.common);
      join(*wide, *clock.wide);
    }
    for (const auto& [other, snapshot] : clock.foreign) learn(foreign, other, snapshot);
  });
  each([&](const Fiber& fiber) {
    ThreadClock& clock = clocks.threads[fiber.linear];
    std::copy(std::begin(all), std::end(all), clock.lanes);
    if (wide) clock.wide = std::make_unique<ClockVector>(*wide);
    clock.foreign = foreign;
    clocks.tick(fiber);
  });
  share_grid_wait(block, warp * kWarpLanes,
                  std::min(kWarpLanes, block.threads() - warp * kWarpLanes), lanes);
}

void order_block(Block& block) {
  BlockClocks& clocks = *block.clocks();
  for (unsigned i = 0; i < block.threads(); ++i) {
    clocks.common[i] = clocks.own(block.fiber(i));
    for (const auto& [other, snapshot] : clocks.threads[i].foreign) {
      learn(clocks.foreign, other, snapshot);
    }
  }
  for (unsigned i = 0; i < block.threads(); ++i) {
    ThreadClock& clock = clocks.threads[i];
    const unsigned first = i / kWarpLanes * kWarpLanes;
    for (unsigned lane = 0; lane < kWarpLanes && first + lane < block.threads(); ++lane) {
      clock.lanes[lane] = clocks.common[first + lane];
    }
    clock.wide.reset();
    clock.foreign.clear();
    clocks.tick(block.fiber(i));
  }
  share_grid_wait(block, 0, block.threads(), ~0u);
}

void release_to_barrier(Block& block, int id, Fiber& fiber) {
  BlockClocks& clocks = *block.clocks();
  ClockVector& barrier = clocks.barriers[id];
  if (barrier.empty()) barrier = clocks.common;
  for (std::uint32_t i = 0; i < block.threads(); ++i) {
    barrier[i] = std::max(barrier[i], clocks.known(fiber, i));
  }
  // What an arrival published for other blocks' writes travels with the block as a whole.
  for (const auto& [other, snapshot] : clocks.threads[fiber.linear].foreign) {
    learn(clocks.foreign, other, snapshot);
  }
  clocks.tick(fiber);
}

void acquire_from_barrier(Block& block, int id) {
  BlockClocks& clocks = *block.clocks();
  const Barrier& barrier = block.barrier(id);
  for (unsigned i = 0; i < block.threads(); ++i) {
    const Fiber& fiber = block.fiber(i);
    if ((barrier.waiting[fiber.warp] >> fiber.lane & 1) == 0) continue;
    ThreadClock& clock = clocks.threads[i];
    join(clocks.widen(fiber), clocks.barriers[id]);
    const unsigned first = fiber.warp * kWarpLanes;
    for (unsigned lane = 0; lane < kWarpLanes && first + lane < block.threads(); ++lane) {
      clock.lanes[lane] = std::max(clock.lanes[lane], clocks.barriers[id][first + lane]);
    }
  }
  clocks.barriers[id].clear();
}

void order_fence(Block& block, Fiber& fiber, FenceScope scope) {
  BlockClocks& clocks = *block.clocks();
  ThreadClock& clock = clocks.threads[fiber.linear];
  for (const auto& [other, snapshot] : clock.to_acquire) {
    if (other != clocks.block) {
      if (scope != FenceScope::kBlock) learn(clock.foreign, other, snapshot);
      continue;
    }
    join(clocks.widen(fiber), *snapshot);
    const unsigned first = fiber.warp * kWarpLanes;
    for (unsigned lane = 0; lane < kWarpLanes && first + lane < block.threads(); ++lane) {
      clock.lanes[lane] = std::max(clock.lanes[lane], (*snapshot)[first + lane]);
    }
  }
  clock.to_acquire.clear();
  clock.fenced_for_block = clocks.snapshot(fiber);
  if (scope != FenceScope::kBlock) clock.fenced_for_device = clock.fenced_for_block;
  clocks.tick(fiber);
}

void order_proxy_fence(Block& block, Fiber& fiber) {
  BlockClocks& clocks = *block.clocks();
  clocks.threads[fiber.linear].fenced_for_proxy = clocks.own(fiber);
  clocks.tick(fiber);
}

void synchronise_through(const void* p, bool reads, bool writes) {
  BlockClocks& clocks = *current_block->clocks();
  ThreadClock& clock = clocks.threads[current_fiber->linear];
  Variable& variable = variables()[p];
  if (variable.launch != current_block->launch()->id) {
    variable.launch = current_block->launch()->id;
    variable.blocks.clear();
  }
  if (reads) {
    for (const auto& [other, published] : variable.blocks) {
      learn(clock.to_acquire, other,
            other == clocks.block ? published.for_block : published.for_device);
    }
  }
  if (!writes) return;
  // Nothing is published in a store that no fence precedes.
  if (clock.fenced_for_block || clock.fenced_for_device) {
    Published& mine = variable.blocks[clocks.block];
    mine.for_block = joined(mine.for_block, clock.fenced_for_block);
    mine.for_device = joined(mine.for_device, clock.fenced_for_device);
  }
}

}  // namespace komt::emulator
