// Vector clocks of the threads of one block (Lamport; Fidge; Mattern).
//
// Most synchronisation is by the whole block, after which all threads know the same. So a thread
// has of its own only what it knows of its warp; the rest is the block's common knowledge, or a
// full vector once a partial synchronisation has taught it more.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "emulator/runtime/block.h"

namespace komt::emulator {

using Clock = std::uint32_t;
using ClockVector = std::vector<Clock>;  // by thread of a block

// What one thread knew of its block when it fenced.
using Snapshot = std::shared_ptr<const ClockVector>;

// What a thread knows of other blocks of its grid, by block.
using ForeignKnowledge = std::map<std::uint32_t, Snapshot>;

struct ThreadClock {
  Clock lanes[kWarpLanes];            // of its warp; its own clock among them
  std::unique_ptr<ClockVector> wide;  // of the block, where it knows more than all do
  Clock fenced_for_proxy = 0;         // own clock at its last fence.proxy.async
  Snapshot fenced_for_block;          // at its last fence of any scope
  Snapshot fenced_for_device;         // at its last fence of device scope
  ForeignKnowledge foreign;
  // Read from synchronisation variables since the last fence, which makes it knowledge.
  ForeignKnowledge to_acquire;
};

struct BlockClocks {
  std::uint32_t block = 0;  // linear index in the grid
  ClockVector common;
  std::vector<ThreadClock> threads;
  ClockVector barriers[kNamedBarriers];
  ForeignKnowledge foreign;  // what all threads know of other blocks

  Clock own(const Fiber& fiber) const { return threads[fiber.linear].lanes[fiber.lane]; }
  Clock known(const Fiber& fiber, std::uint32_t thread) const;
  // Of another block of the same grid: whether its thread's past up to `clock` is known.
  bool knows_foreign(const Fiber& fiber, std::uint32_t block, std::uint32_t thread,
                     Clock clock) const;
  bool knows_anything_of(const Fiber& fiber, std::uint32_t block) const;
  Snapshot snapshot(const Fiber& fiber) const;
  ClockVector& widen(const Fiber& fiber);
  void tick(const Fiber& fiber) { ++threads[fiber.linear].lanes[fiber.lane]; }
};

// An atomic access to p by the running thread: publishes what it has fenced, and collects what
// others published there.
void synchronise_through(const void* p, bool reads, bool writes);

}  // namespace komt::emulator
